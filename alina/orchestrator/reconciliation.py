"""The books against the exchange: orders, fills and balances must be equal, to the last digit."""

from decimal import Decimal

import structlog

from alina.domain.orders import OrderState
from alina.domain.portfolio import Equity
from alina.errors import ExchangeRefused, LedgerError
from alina.orchestrator import comparison, execution, foreign, halting, protection, scope, stops
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def reconcile(runtime: Runtime) -> list[str]:
    """Settle what is open, see to the stops, record the equity, compare the books; step back if that is due.

    A difference is logged, counted and sets REDUCING; nothing sets ACTIVE again by itself. An order of ours
    that was given up and turned up after all is adopted, with its fills and the position they make. What
    was placed from elsewhere is remembered, so that it is a difference no longer, and handled as
    `execution.foreign_orders` says. Returns the differences. Raises ExchangeUnavailable (transient).
    """
    halting.watch_failures(runtime)
    contradictions = execution.settle_all(runtime)
    protection.close_dust(runtime)
    stops.protect(runtime)
    record_equity(runtime)
    halting.watch_losses(runtime)
    with runtime.unit_of_work() as uow:
        settle_after = runtime.settings.execution.settle_after
        reported = uow.ledger.mismatches(runtime.account, older_than=settle_after)
    found = comparison.look(runtime)
    differences = contradictions + found.differences + [line for line in found.gone if line not in reported]
    if differences:
        _report(runtime, differences)
        adopted = adopt_given_up(runtime)
        if adopted:  # what they explain is no difference at the next look
            return differences + adopted
    foreign.book(runtime, found, reported)
    return differences


def _report(runtime: Runtime, differences: list[str]) -> None:
    """Log and count the differences, and let positions only shrink until somebody looked."""
    log.error("books differ from the exchange", differences=differences)
    with runtime.unit_of_work() as uow:
        uow.ledger.record_mismatches(runtime.account, differences)
        halting.step_back(runtime, uow, f"reconciliation: {differences[0]}")


def adopt_given_up(runtime: Runtime) -> list[str]:
    """Take back every order given up as never arrived that the exchange knows after all, one line each.

    If the process dies here, what was adopted is unsettled: the next reconciliation settles it.
    """
    adopted = []
    for symbol in scope.symbols(runtime):
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
    """The account's worth in the quote of its symbols, at the last prices; stored with the balances.

    What the exchange names no price of is worth nothing. Raises ExchangeUnavailable.
    """
    with runtime.unit_of_work() as uow:  # before the question: somebody may move money and begin a new peak
        peak_number = uow.ledger.peak_number(runtime.account)
    balances, now = runtime.exchange.balances(), runtime.clock.now()
    (quote,) = {symbol.split("/")[1] for symbol in runtime.settings.market.symbols}
    cash = balances[quote].total if quote in balances else Decimal(0)
    holdings = Decimal(0)
    for base, its_quote in (symbol.split("/") for symbol in scope.symbols(runtime)):
        held = balances.get(base)
        if held is not None and held.total > 0 and its_quote == quote:
            holdings += held.total * _last_price(runtime, f"{base}/{quote}")
    equity = Equity(account=runtime.account, as_of=now, cash=cash, holdings=holdings)
    with runtime.unit_of_work() as uow:
        uow.ledger.record_balances(runtime.account, balances, at=now)
        uow.ledger.record_equity(equity, peak_number=peak_number)
    return equity


def _last_price(runtime: Runtime, symbol: str) -> Decimal:
    try:
        return runtime.exchange.ticker(symbol).last
    except ExchangeRefused as error:
        log.warning("counted as worth nothing", symbol=symbol, error=str(error))
        return Decimal(0)
