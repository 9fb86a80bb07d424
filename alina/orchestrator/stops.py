"""Protective stops that wait on the exchange. Only the execution process sees to them.

A stop is a proposal like any other: reviewed, reserved, claimed, sent once, and then it rests. Everything
here is derived from the ledger and the exchange at each pass, so a pass may be repeated or never come:
  no stop rests: one is placed for what can be sold.
  one rests for another quantity than is held, or at another price than the position's stop: it is withdrawn,
  and one that fits is placed.
  one was reached and is not filled: it is withdrawn, and what is left is sold a little below the bid; if
  that is not filled either, at the market.

What if the process dies here? A stop that was proposed and not sent is sent at the next pass, or by the
sweeper. Between a withdrawal and what replaces it nothing rests: until the next pass the stop is the
software's, which every poll looks at (`protection.propose_exits`). It is that, too, where the exchange has
no stop orders or takes none of this position.
"""

from decimal import Decimal

import structlog

from alina.domain.decisions import Proposal
from alina.domain.market import Market, Ticker
from alina.domain.orders import LedgerOrder, OrderState, OrderType
from alina.domain.portfolio import CloseReason, Position, TradingState, WindDown
from alina.errors import ExchangeError, LedgerError
from alina.exchange.budget import urgent
from alina.orchestrator import execution, halting, protection
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)

#: stops of one position that may be denied or refused before it is left to the software
_FAILURES = 3


def protect(runtime: Runtime) -> None:
    """See to the stop of every open position; one that fails does not keep the others. Safe to repeat.

    A halted account is left as it is: what rests goes on protecting it, until `alina halt --cancel`.
    """
    with runtime.unit_of_work() as uow:
        account = halting.in_force(runtime.stop_file, uow.ledger.account(runtime.account))
        positions = uow.ledger.open_positions(runtime.account)
    if account.trading_state is TradingState.HALTED or account.wind_down is not WindDown.NONE:
        return
    for position in positions:
        try:
            with urgent():
                _protect(runtime, position)
        except (ExchangeError, LedgerError) as error:  # the next pass tries again
            log.warning("stop not seen to", symbol=position.symbol, error=str(error))


def _protect(runtime: Runtime, position: Position) -> None:
    account, symbol = position.account, position.symbol
    with runtime.unit_of_work() as uow:
        if uow.ledger.has_pending_exit(account, symbol) or uow.ledger.is_entering(account, symbol):
            return  # its settlement asks for another pass
        unsent = uow.ledger.unsent_stops(account, symbol)
        resting = uow.ledger.resting_sales(account, symbol)
    if unsent:
        execution.execute(runtime, unsent[0])
    elif not resting:
        _place(runtime, position)
    else:
        _keep(runtime, resting[0])


def _place(runtime: Runtime, position: Position) -> None:
    """Let a stop wait on the exchange, if it takes one."""
    proposal = _stop(runtime, position)
    if proposal is None or not _propose(runtime, proposal):
        return
    execution.execute(runtime, proposal.id)
    if _has_failed_too_often(runtime, position):
        log.warning("no stop on the exchange: the software watches it", symbol=position.symbol)


def _stop(runtime: Runtime, position: Position) -> Proposal | None:
    """The stop order of a position; None: the software must watch it, or it is due already."""
    symbol, trading = position.symbol, runtime.settings.trading
    if position.stop_price is None or trading.stop_orders != "exchange":
        return None
    if not runtime.exchange.has_stop_orders(symbol) or _has_failed_too_often(runtime, position):
        return None
    market, ticker = runtime.exchange.market(symbol), runtime.exchange.ticker(symbol)
    trigger = _trigger(position.stop_price, market)
    limit = protection.below(trigger, trading.stop_limit_offset, market)
    quantity = protection.sellable(runtime, position, market, limit)
    if trigger >= ticker.bid or limit <= 0 or protection.is_dust(market, quantity, limit):
        return None
    return protection.sale(
        runtime,
        position,
        quantity,
        CloseReason.STOP_LOSS,
        ticker,
        limit_price=limit,
        trigger_price=trigger,
    )


def _has_failed_too_often(runtime: Runtime, position: Position) -> bool:
    with runtime.unit_of_work() as uow:
        attempts = uow.ledger.stop_attempts(position.id)
    return attempts.count((OrderType.STOP_LIMIT, True)) >= _FAILURES


def _propose(runtime: Runtime, proposal: Proposal) -> bool:
    """Store it, unless another sale of the symbol is on its way."""
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(proposal.account)
        if uow.ledger.has_pending_exit(proposal.account, proposal.symbol):
            return False
        return uow.ledger.save_proposal(proposal)


def _keep(runtime: Runtime, known: LedgerOrder) -> None:
    """Leave a resting stop alone, or replace it. What the exchange says of it now comes first."""
    symbol = known.order.symbol
    known = execution.settle(runtime, known.order.client_order_id)
    if known.settled:
        _replace(runtime, symbol)
    if known.settled or known.state is OrderState.SUBMITTING:
        return
    with runtime.unit_of_work() as uow:
        position = uow.ledger.open_position(known.order.account, symbol)
    ticker = runtime.exchange.ticker(symbol)
    if position is None or (_fits(runtime, known, position) and not _is_stuck(runtime, known, ticker)):
        return
    log.warning("stop withdrawn", symbol=symbol, order=known.order.client_order_id, bid=str(ticker.bid))
    execution.withdraw(runtime, symbol)
    _replace(runtime, symbol)


def _fits(runtime: Runtime, known: LedgerOrder, position: Position) -> bool:
    """Whether the order still sells just what is held, at the position's stop and no other that was proposed.

    A sale that is under way is not disturbed.
    """
    if known.order.order_type is OrderType.LIMIT:
        return True
    if position.stop_price is None or runtime.settings.trading.stop_orders != "exchange":
        return False
    market, order = runtime.exchange.market(position.symbol), known.order
    if order.trigger_price != _trigger(position.stop_price, market):
        return False
    left, whole = order.quantity - known.filled_quantity, market.quantity_down(position.quantity)
    return left == whole or left == protection.sellable(runtime, position, market, position.stop_price)


def _trigger(stop_price: Decimal, market: Market) -> Decimal:
    """The stop on the market's grid."""
    return protection.below(stop_price, Decimal(0), market)


def _is_stuck(runtime: Runtime, known: LedgerOrder, ticker: Ticker) -> bool:
    """Whether the price is there, or below the limit already, and the exchange does not fill the order."""
    order, patience = known.order, runtime.settings.execution.stop_patience
    with runtime.unit_of_work() as uow:
        if order.trigger_price is None:
            return uow.ledger.submitted_before(order.client_order_id, patience)
        if ticker.bid > order.trigger_price:
            return False
        uow.ledger.note_reached(order.client_order_id)
        has_waited = uow.ledger.reached_before(order.client_order_id, patience)
    return has_waited or (order.limit_price is not None and ticker.bid < order.limit_price)


def _replace(runtime: Runtime, symbol: str) -> None:
    """With nothing resting: sell what is left of a position that is due, else place its stop anew."""
    with runtime.unit_of_work() as uow:
        position = uow.ledger.open_position(runtime.account, symbol)
    if position is None:
        return
    ticker, market = runtime.exchange.ticker(symbol), runtime.exchange.market(symbol)
    reason = protection.due(position, ticker, runtime.clock.now())
    if reason is not CloseReason.STOP_LOSS:
        _place(runtime, position)
        return
    quantity = protection.sellable(runtime, position, market, ticker.bid)
    if protection.is_dust(market, quantity, ticker.bid):
        return
    with runtime.unit_of_work() as uow:
        limit = protection.price_after_stop(runtime, uow, position, ticker, market)
    proposal = protection.sale(runtime, position, quantity, reason, ticker, limit_price=limit)
    if _propose(runtime, proposal):
        execution.execute(runtime, proposal.id)
