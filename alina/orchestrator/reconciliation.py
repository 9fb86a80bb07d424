"""The books against the exchange: orders, fills and balances must be equal, to the last digit."""

from collections.abc import Sequence
from decimal import Decimal

import structlog

from alina.domain.market import Balances
from alina.domain.orders import Fill, OrderSide, OrderState, PlacedOrder
from alina.domain.portfolio import Equity
from alina.errors import LedgerError
from alina.orchestrator import execution, halting, protection
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def reconcile(runtime: Runtime) -> list[str]:
    """Settle what is open, record the equity, compare the books; step back if too much failed or was lost.

    A difference sets REDUCING and is logged; nothing sets ACTIVE again by itself. What was placed from
    elsewhere is left as it is; an order of ours that was given up and turned up after all is adopted, with
    its fills and the position they make. Returns the differences. Raises ExchangeUnavailable (transient).
    """
    halting.watch_failures(runtime)
    contradictions = execution.settle_all(runtime)
    protection.close_dust(runtime)
    record_equity(runtime)
    halting.watch_losses(runtime)
    differences = contradictions + compare(runtime)
    if differences:
        log.error("books differ from the exchange", differences=differences)
        halting.step_back(runtime, f"reconciliation: {differences[0]}")
        differences += adopt_given_up(runtime)
    return differences


def adopt_given_up(runtime: Runtime) -> list[str]:
    """Take back every order given up as never arrived that the exchange knows after all, one line each.

    If the process dies here, what was adopted is unsettled: the next reconciliation settles it.
    """
    adopted = []
    for symbol in runtime.settings.market.symbols:
        with runtime.unit_of_work() as uow:
            given_up = uow.ledger.given_up(runtime.account, symbol)
        for known in given_up:
            placed = runtime.exchange.find(symbol, known.order.client_order_id)
            if placed is None or placed.state is OrderState.REJECTED:
                continue
            try:
                with runtime.unit_of_work() as uow:
                    uow.ledger.adopt(placed)
            except LedgerError as error:
                adopted.append(str(error))
            else:
                adopted.append(f"{symbol}: order {placed.client_order_id} turned up after all and is adopted")
    if adopted:
        log.error("orders adopted", orders=adopted)
        adopted += execution.settle_all(runtime)
    return adopted


def record_equity(runtime: Runtime) -> Equity:
    """The account's worth in the quote of its symbols, at the last prices; stored with the balances."""
    balances, now = runtime.exchange.balances(), runtime.clock.now()
    symbols = runtime.settings.market.symbols
    quotes = {symbol.split("/")[1] for symbol in symbols}
    cash = sum((balances[q].total for q in quotes if q in balances), Decimal(0))
    holdings = Decimal(0)
    for symbol in symbols:
        held = balances.get(symbol.split("/")[0])
        if held is not None and held.total > 0:
            holdings += held.total * runtime.exchange.ticker(symbol).last
    equity = Equity(account=runtime.account, as_of=now, cash=cash, holdings=holdings)
    with runtime.unit_of_work() as uow:
        uow.ledger.record_balances(runtime.account, balances, at=now)
        uow.ledger.record_equity(equity)
    return equity


def compare(runtime: Runtime) -> list[str]:
    """What differs between the exchange and the ledger, one line each; empty when the books agree.

    A symbol with an order in flight waits for the next comparison: its fate is still being asked for.
    Balances are compared on the venue only: on a real exchange a deposit is no fault.
    """
    differences: list[str] = []
    with runtime.unit_of_work() as uow:
        in_flight = {known.order.symbol for known in uow.ledger.unsettled_orders()}
        fills = {
            symbol: uow.ledger.fills(runtime.account, symbol) for symbol in runtime.settings.market.symbols
        }
        opening = uow.ledger.opening_balances(runtime.account)
    for symbol in fills.keys() - in_flight:
        differences += _orders(symbol, runtime.exchange.open_orders(symbol))
        differences += _fills(symbol, runtime.exchange.fills(symbol), fills[symbol])
    if runtime.settings.market.exchange.mode == "paper" and not in_flight:
        every_fill = [fill for each in fills.values() for fill in each]
        differences += compare_balances(opening, runtime.exchange.balances(), every_fill)
    return differences


def _orders(symbol: str, open_orders: Sequence[PlacedOrder]) -> list[str]:
    """With nothing in flight here, whatever is open there is not ours."""
    return [
        f"{symbol}: order {placed.client_order_id} is open on the exchange only" for placed in open_orders
    ]


def _fills(symbol: str, on_exchange: Sequence[Fill], in_ledger: Sequence[Fill]) -> list[str]:
    """Fills by trade id, every field equal. The exchange may know fewer: it answers the newest ones."""
    theirs, ours = ({fill.trade_id: fill for fill in fills} for fills in (on_exchange, in_ledger))
    return [f"{symbol}: trade {name} is on the exchange only" for name in theirs.keys() - ours.keys()] + [
        f"{symbol}: trade {name} differs: {ours[name]} here, {theirs[name]} there"
        for name in theirs.keys() & ours.keys()
        if theirs[name] != ours[name]
    ]


def compare_balances(opening: Balances, now: Balances, fills: Sequence[Fill]) -> list[str]:
    """Opening balances moved by every fill must give the balances of now, to the last digit."""
    expected = {asset: balance.total for asset, balance in opening.items()}
    for fill in fills:
        base, quote = fill.symbol.split("/")
        sign = 1 if fill.side is OrderSide.BUY else -1
        changes = ((base, sign * fill.quantity), (quote, -sign * fill.notional), (fill.fee_asset, -fill.fee))
        for asset, change in changes:
            expected[asset] = expected.get(asset, Decimal(0)) + change
    actual = {asset: balance.total for asset, balance in now.items()}
    return [
        f"{asset}: {expected.get(asset, 0)} by the ledger's fills, {actual.get(asset, 0)} on the exchange"
        for asset in sorted(expected.keys() | actual.keys())
        if expected.get(asset, 0) != actual.get(asset, 0)
    ]
