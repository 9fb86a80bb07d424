"""What the kernel is shown: its limits from the settings, and a fresh snapshot under the account's lock."""

import structlog

from alina.domain.decisions import Proposal
from alina.domain.market import Balances, Market, Ticker
from alina.domain.portfolio import TradingState
from alina.errors import ExchangeRefused
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.risk.limits import Limits, Snapshot

log = structlog.get_logger(__name__)


def limits(runtime: Runtime) -> Limits:
    """The kernel's limits from the settings."""
    risk = runtime.settings.risk
    return Limits(
        max_trade_amount=risk.max_trade_amount,
        max_price_age=risk.max_price_age,
        cooldown=risk.cooldown,
        fee_reserve=risk.fee_reserve,
        slippage_reserve=risk.slippage_reserve,
    )


def snapshot(runtime: Runtime, uow: UnitOfWork, proposal: Proposal, state: TradingState) -> Snapshot:
    """Everything fresh, taken under the account's lock. What the exchange does not tell stays None."""
    market, ticker, balances = _ask_exchange(runtime, proposal.symbol)
    now = runtime.clock.now()
    if balances is not None:
        uow.ledger.record_balances(proposal.account, balances, at=now)
    base, quote = proposal.symbol.split("/")
    return Snapshot(
        now=now,
        trading_state=state,
        market=market,
        ticker=ticker,
        balances=balances,
        reserved_base=uow.ledger.reserved(proposal.account, base),
        reserved_quote=uow.ledger.reserved(proposal.account, quote),
        position=uow.ledger.open_position(proposal.account, proposal.symbol),
        last_entry_at=uow.ledger.last_entry_at(proposal.account, proposal.symbol),
    )


def _ask_exchange(runtime: Runtime, symbol: str) -> tuple[Market | None, Ticker | None, Balances | None]:
    """Market, price and balances; a refusal is an unknown, an unreachable exchange is worth a repeat."""
    try:
        return (
            runtime.exchange.market(symbol),
            runtime.exchange.ticker(symbol),
            runtime.exchange.balances(),
        )
    except ExchangeRefused as error:
        log.warning("the exchange refused a question", symbol=symbol, error=str(error))
        return None, None, None


def figures(seen: Snapshot) -> dict[str, str | None]:
    """What the kernel saw, for the decision's row."""
    ticker, position = seen.ticker, seen.position
    return {
        "now": seen.now.isoformat(),
        "trading_state": seen.trading_state,
        "bid": f"{ticker.bid:f}" if ticker else None,
        "ask": f"{ticker.ask:f}" if ticker else None,
        "price_as_of": ticker.as_of.isoformat() if ticker else None,
        "reserved_base": f"{seen.reserved_base:f}",
        "reserved_quote": f"{seen.reserved_quote:f}",
        "position": f"{position.quantity:f}" if position else None,
        "last_entry_at": seen.last_entry_at.isoformat() if seen.last_entry_at else None,
    }
