"""Orders on the exchange that are not ours: remembered, and left or adopted (`execution.foreign_orders`).

What if the process dies here? Nothing of an order is remembered without the trades that were seen, and what
is not remembered is a difference again at the next reconciliation.
"""

from collections.abc import Sequence, Set
from decimal import Decimal

import structlog

from alina.domain.market import Market
from alina.domain.orders import Fill, ForeignOrder, Handling
from alina.orchestrator import execution
from alina.orchestrator.comparison import Comparison
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def book(runtime: Runtime, found: Comparison, reported: Set[str]) -> None:
    """Remember the foreign orders whose difference was reported before, and record their trades.

    `reported` is what was so `execution.settle_after` ago: a foreign order may be one of ours that was
    given up, and that the exchange does not yet name when it is asked. Raises ExchangeUnavailable.
    """
    orders = [order for line, order in found.foreign.items() if line in reported]
    waiting = {order.exchange_order_id for line, order in found.foreign.items() if line not in reported}
    trades = [trade for trade in found.trades if trade.exchange_order_id not in waiting]
    for symbol in sorted({order.symbol for order in orders} | {trade.symbol for trade in trades}):
        its_orders = [order for order in orders if order.symbol == symbol]
        its_trades = [trade for trade in trades if trade.symbol == symbol]
        _book_symbol(runtime, symbol, its_orders, its_trades)


def _book_symbol(
    runtime: Runtime, symbol: str, orders: Sequence[ForeignOrder], trades: Sequence[Fill]
) -> None:
    market = runtime.exchange.market(symbol)
    rates = execution.fee_rates(runtime, market, trades)
    handling = Handling(runtime.settings.execution.foreign_orders)
    longest = runtime.settings.trading.max_holding
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(runtime.account)
        for order in orders:
            uow.ledger.record_foreign_order(runtime.account, order, handling)
        for trade in trades:  # oldest first, as the exchange lists them
            stop_price, take_profit_price = _exits(runtime, market, trade.price)
            uow.ledger.record_foreign_fill(
                runtime.account,
                trade,
                market=market,
                fee_rate=rates.get(trade.fee_asset),
                stop_price=stop_price,
                take_profit_price=take_profit_price,
                close_after=trade.executed_at + longest if longest else None,
            )
    names, ids = [order.exchange_order_id for order in orders], [trade.trade_id for trade in trades]
    log.error("foreign orders", symbol=symbol, handling=handling.value, orders=names, trades=ids)


def _exits(runtime: Runtime, market: Market, price: Decimal) -> tuple[Decimal, Decimal | None]:
    """Where a position bought by hand closes: at the distances that `trading` names for our own."""
    trading = runtime.settings.trading
    stop_price = market.price_for(price * (1 - trading.stop_loss), is_buy=True)
    if trading.take_profit is None:
        return stop_price, None
    return stop_price, market.price_for(price * (1 + trading.take_profit), is_buy=False)
