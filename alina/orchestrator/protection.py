"""Exits that no model decides: stop, take profit and time limit, proposed through the same kernel.

Where the stop rests on the exchange, `orchestrator.stops` sees to it; here is what sells without one.
"""

from datetime import datetime
from decimal import Decimal
from uuid import uuid4

import structlog

from alina.domain.decisions import Proposal
from alina.domain.market import Market, Ticker
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import CloseReason, Position
from alina.errors import ExchangeError
from alina.orchestrator.runtime import Runtime, UnitOfWork

log = structlog.get_logger(__name__)


def due(position: Position, ticker: Ticker, now: datetime) -> CloseReason | None:
    """Why the position must be closed now, at the price a sale would get; None: it need not."""
    if position.stop_price is not None and ticker.bid <= position.stop_price:
        return CloseReason.STOP_LOSS
    if position.take_profit_price is not None and ticker.bid >= position.take_profit_price:
        return CloseReason.TAKE_PROFIT
    if position.close_after is not None and now >= position.close_after:
        return CloseReason.TIME_LIMIT
    return None


def propose_exits(runtime: Runtime, symbol: str) -> None:
    """Propose to sell the symbol's position if it is due and no exit is on its way.

    Two polls at once may propose twice; the kernel lets only one through, since the first reserves the base.
    """
    with runtime.unit_of_work() as uow:
        position = uow.ledger.open_position(runtime.account, symbol)
        if position is None or uow.ledger.has_pending_exit(runtime.account, symbol):
            return
        rests = bool(uow.ledger.resting_sales(runtime.account, symbol))
    ticker, now = runtime.exchange.ticker(symbol), runtime.clock.now()
    reason = due(position, ticker, now)
    if reason is CloseReason.STOP_LOSS and rests:
        runtime.send("trading.protect")  # it sells, or must be replaced
        return
    if reason is None:
        return
    market = runtime.exchange.market(symbol)
    quantity = sellable(runtime, position, market, ticker.bid)
    if is_dust(market, quantity, ticker.bid):
        return
    with runtime.unit_of_work() as uow:
        limit_price = price_after_stop(runtime, uow, position, ticker, market)
        by_stop = reason is CloseReason.STOP_LOSS
        proposal = sale(
            runtime, position, quantity, reason, ticker, limit_price=limit_price if by_stop else None
        )
        uow.ledger.save_proposal(proposal)
    runtime.send("trading.execute_proposal", str(proposal.id))


def sellable(runtime: Runtime, position: Position, market: Market, price: Decimal) -> Decimal:
    """What one order is to sell of a position at this price: of what is partly gone only what is there.

    Somebody may have sold or withdrawn some, or a fee was taken from it: a sale of all would be denied.
    Balances are told late: where they leave nothing to sell, all of it, and the kernel looks again.
    """
    with runtime.unit_of_work() as uow:
        told = uow.ledger.told_of(position)
    there = position.quantity if told is None else min(position.quantity, told)
    quantity = market.quantity_down(there)
    return market.quantity_down(position.quantity) if is_dust(market, quantity, price) else quantity


def is_dust(market: Market, quantity: Decimal, price: Decimal) -> bool:
    """Whether so little, at this price, that the exchange would refuse to sell it."""
    return quantity <= 0 or quantity < market.min_quantity or quantity * price < market.min_notional


def close_dust(runtime: Runtime) -> list[str]:
    """Close every position that is due and too small to be sold, as after a partial fill. Its cost is lost.

    Returns the symbols. One that the exchange says nothing of does not keep the others.
    """
    with runtime.unit_of_work() as uow:
        positions = uow.ledger.open_positions(runtime.account)
    closed = []
    for position in positions:
        try:
            if _close_dust(runtime, position):
                closed.append(position.symbol)
        except ExchangeError as error:  # the next pass tries again
            log.warning("dust not looked for", symbol=position.symbol, error=str(error))
    if closed:
        log.warning("closed as dust", symbols=closed)
    return closed


def _close_dust(runtime: Runtime, position: Position) -> bool:
    ticker, market = runtime.exchange.ticker(position.symbol), runtime.exchange.market(position.symbol)
    now = runtime.clock.now()
    reason = due(position, ticker, now)
    if reason is None or not is_dust(market, market.quantity_down(position.quantity), ticker.bid):
        return False
    with runtime.unit_of_work() as uow:
        return uow.ledger.close_dust(position.account, position.symbol, at=now, reason=reason)


def price_after_stop(
    runtime: Runtime, uow: UnitOfWork, position: Position, ticker: Ticker, market: Market
) -> Decimal | None:
    """The limit price of a sale by stop; None: at the market.

    One that rested on the exchange without being filled is tried once more a little below the bid, which
    bounds what a thin book can cost; after that only being sold counts. Without one, too.
    """
    attempts = uow.ledger.stop_attempts(position.id)
    if (OrderType.STOP_LIMIT, False) not in attempts or OrderType.LIMIT in {kind for kind, _ in attempts}:
        return None
    return below(ticker.bid, runtime.settings.trading.stop_limit_offset, market)


def below(price: Decimal, offset: Decimal, market: Market) -> Decimal:
    """A price this fraction lower, on the tick grid: rounded down, so that a sale rather meets it."""
    return market.price_for(price * (1 - offset), is_buy=True)


def sale(
    runtime: Runtime,
    position: Position,
    quantity: Decimal,
    reason: CloseReason,
    ticker: Ticker,
    *,
    limit_price: Decimal | None = None,
    trigger_price: Decimal | None = None,
) -> Proposal:
    """A proposal to sell so much of a position: at the market now, or at the prices given."""
    unpriced = OrderType.MARKET if limit_price is None else OrderType.LIMIT
    return Proposal(
        id=uuid4(),
        run_id=None,
        account=position.account,
        agent=position.agent,
        symbol=position.symbol,
        side=OrderSide.SELL,
        order_type=unpriced if trigger_price is None else OrderType.STOP_LIMIT,
        quantity=quantity,
        limit_price=limit_price,
        trigger_price=trigger_price,
        reference_price=ticker.bid,
        reduce_only=True,
        close_reason=reason,
        stop_price=None,
        take_profit_price=None,
        close_after=None,
        confidence=100,
        rationale=f"{reason.value}: bid {ticker.bid:f}, stop {position.stop_price}, "
        f"target {position.take_profit_price}, close after {position.close_after}",
        as_of=ticker.as_of,
        expires_at=runtime.clock.now() + runtime.settings.trading.proposal_ttl,
    )
