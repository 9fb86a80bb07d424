"""Cancel and flatten: what a person asked of an account that stops. Only the execution process does it.

What if the process dies here? The wish is a column of the account and stays until it is fulfilled: the
sweeper sends the task again, and every step looks at what is left instead of at what was done.
A cancel needs no state. A sale takes the path of every order, so the account is REDUCING while it is
flattened and HALTED once nothing is left that can be sold.
"""

from datetime import UTC, datetime

import structlog

from alina.domain.orders import PlacedOrder
from alina.domain.portfolio import CloseReason, Position, TradingState, WindDown
from alina.errors import ExchangeError, ExchangeRefused
from alina.exchange.budget import urgent
from alina.orchestrator import execution, halting, protection, scope
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def wind_down(runtime: Runtime) -> list[str]:
    """Do what is asked of the account. Returns what remains, one line each. Safe to repeat.

    Raises ExchangeUnavailable (transient).
    """
    with runtime.unit_of_work() as uow:
        wish = uow.ledger.account(runtime.account).wind_down
    if wish is WindDown.NONE:
        return []
    with urgent():
        return _wind_down(runtime, wish)


def _wind_down(runtime: Runtime, wish: WindDown) -> list[str]:
    cancel_open_orders(runtime)
    if wish is WindDown.FLATTEN:
        _sell_what_is_held(runtime)
    left, is_done = _remaining(runtime, wish)
    if is_done:
        _finish(runtime, wish)
    log.warning("winding down", wish=wish.value, done=is_done, remaining=left)
    return left


def cancel_open_orders(runtime: Runtime) -> None:
    """Cancel every order that is open on the exchange, ours or not, and settle what became of ours.

    One that cannot be cancelled does not keep the others.
    """
    for symbol in scope.symbols(runtime):
        try:
            placed = runtime.exchange.open_orders(symbol)
        except ExchangeError as error:
            log.warning("open orders not told", symbol=symbol, error=str(error))
            continue
        for order in placed:
            _cancel(runtime, order)
    execution.settle_all(runtime)


def _cancel(runtime: Runtime, order: PlacedOrder) -> None:
    try:
        runtime.exchange.cancel(
            order.symbol, order.client_order_id, exchange_order_id=order.exchange_order_id
        )
    except ExchangeError as error:  # the next pass tries again
        log.warning("not cancelled", order=order.exchange_order_id, symbol=order.symbol, error=str(error))


def _sell_what_is_held(runtime: Runtime) -> None:
    """Sell every position that can be sold; one that fails does not keep the others."""
    with runtime.unit_of_work() as uow:
        account = halting.in_force(runtime.stop_file, uow.ledger.account(runtime.account))
        positions = uow.ledger.open_positions(runtime.account)
    if account.trading_state is TradingState.HALTED:  # a stop-file, or the whole system is stopped
        return
    for position in positions:
        try:
            _sell(runtime, position)
        except ExchangeError as error:  # the next pass tries again
            log.warning("not sold", symbol=position.symbol, error=str(error))


def _sell(runtime: Runtime, position: Position) -> None:
    """Sell it whole, without waiting for what somebody else proposes: agents may go on proposing for ever.

    What is under way already has reserved the base, and this sale is denied.
    """
    if _unsellable(runtime, position) is not None:
        return
    market, ticker = runtime.exchange.market(position.symbol), runtime.exchange.ticker(position.symbol)
    quantity = protection.sellable(runtime, position, market, ticker.bid)
    proposal = protection.sale(runtime, position, quantity, CloseReason.HALT, ticker)
    with runtime.unit_of_work() as uow:
        uow.ledger.save_proposal(proposal)
    execution.execute(runtime, proposal.id)


def _unsellable(runtime: Runtime, position: Position) -> str | None:
    """Why the exchange would take no order for it; None: it would."""
    try:
        market = runtime.exchange.market(position.symbol)
        price = runtime.exchange.ticker(position.symbol).bid
    except ExchangeRefused as error:  # as of a symbol that was taken off it
        return str(error)
    is_dust = protection.is_dust(market, market.quantity_down(position.quantity), price)
    return "too little to be sold" if is_dust else None


def _remaining(runtime: Runtime, wish: WindDown) -> tuple[list[str], bool]:
    """What is left, and whether nothing more can be done about it."""
    with runtime.unit_of_work() as uow:
        orders = [known.order for known in uow.ledger.unsettled_orders()]
        positions = uow.ledger.open_positions(runtime.account)
    ours = [order for order in orders if order.account == runtime.account]
    lines, is_done = [f"order {order.client_order_id} is not settled" for order in ours], not ours
    for position in positions:
        obstacle = _unsellable(runtime, position)
        lines.append(
            f"{position.quantity:f} {position.symbol} is held" + (f": {obstacle}" if obstacle else "")
        )
        is_done = is_done and (wish is WindDown.CANCEL or obstacle is not None)
    return lines, is_done


def _finish(runtime: Runtime, wish: WindDown) -> None:
    """The wish is fulfilled, unless a person wished something else meanwhile."""
    with runtime.unit_of_work() as uow:
        account = uow.ledger.lock_account(runtime.account)
        if account.wind_down is not wish:
            return
        reason = account.reason
        uow.ledger.ask_wind_down(runtime.account, WindDown.NONE)
        if wish is WindDown.FLATTEN:
            halting.move_down(uow, runtime.account, TradingState.HALTED, reason=reason, at=datetime.now(UTC))
