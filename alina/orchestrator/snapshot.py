"""What the kernel is shown: everything fresh for one review.

The exchange is asked before the account is locked: one that does not answer holds nobody up. An order may be
settled between the two, and its reservation given back while the balances still show what it has spent. So
every reservation counts that ended since they were asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from alina.domain.activity import Activity, ActivityQuery
from alina.domain.decisions import Proposal
from alina.domain.market import Balances, Candle, Market, OrderBook, Ticker, timeframe_duration
from alina.errors import ExchangeError, ExchangeRefused
from alina.orchestrator import halting
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.risk.amounts import is_protective
from alina.risk.limits import Snapshot

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
#: levels of a side: more would cost more of the exchange's weight
_BOOK_DEPTH = 100
#: candles whose volume is compared with that of the candles before them
_RECENT, _USUAL = 6, 96
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLook:
    """What the exchange says of a symbol. None: it refused to say, or nothing asks for it."""

    market: Market | None
    ticker: Ticker | None
    book: OrderBook | None
    clock_difference: timedelta | None
    balances: Balances | None


def look(runtime: Runtime, proposal: Proposal) -> MarketLook:
    """The proposal's symbol on the exchange now. Raises ExchangeUnavailable (transient).

    No exit waits for what only limits ask for: its stop may be withdrawn already, and until it is decided no
    other exit is proposed. A protective one is measured by none of it; an agent's is denied without the book.
    """
    exchange, asked, symbol = runtime.exchange, runtime.limits, proposal.symbol
    is_entry, is_measured = not proposal.reduce_only, not is_protective(proposal)
    needs_book = (asked.price_collar, asked.max_spread, asked.max_slippage, asked.min_depth)
    return MarketLook(
        market=_answer(lambda: exchange.market(symbol)),
        ticker=_answer(lambda: exchange.ticker(symbol)),
        book=_answer(lambda: exchange.order_book(symbol, depth=_BOOK_DEPTH), is_awaited=is_entry)
        if is_measured and any(limit is not None for limit in (*needs_book, asked.max_imbalance))
        else None,
        clock_difference=_answer(lambda: timedelta(milliseconds=exchange.clock_difference_ms()))
        if is_entry and asked.max_clock_drift is not None
        else None,
        balances=_answer(exchange.balances),
    )


def _answer(ask: Callable[[], _T], *, is_awaited: bool = True) -> _T | None:
    """A refusal is an unknown; an unreachable exchange is worth a repeat, if its answer is awaited."""
    try:
        return ask()
    except ExchangeError as error:
        if is_awaited and not isinstance(error, ExchangeRefused):
            raise
        log.warning("the exchange does not answer a question", error=str(error))
        return None


def snapshot(
    runtime: Runtime,
    uow: UnitOfWork,
    proposal: Proposal,
    *,
    seen: MarketLook,
    balances_asked_at: datetime | None,
    agreed_hash: str | None = None,
) -> Snapshot:
    """Everything for one review: locks the account. What is not known stays None.

    `balances_asked_at`, by the ledger's clock, lies before the question for those that were seen.
    """
    asked, asked_at = runtime.limits, runtime.clock.now()
    query = _query(runtime, proposal, asked_at, balances_asked_at)
    standing = uow.ledger.locked_standing(query, proposal.id)
    state = halting.in_force(runtime.stop_file, standing.account).trading_state
    balances, now = seen.balances, runtime.clock.now()
    activity = standing.activity
    if now.date() != asked_at.date():  # while it waited for the lock
        activity = uow.ledger.activity(_query(runtime, proposal, now, balances_asked_at))
    if balances is not None and not activity.has_balances:
        uow.ledger.record_balances(proposal.account, balances, at=now)  # the opening ones
    candles = _candles(runtime, uow, proposal.symbol, now) if asked.min_volume_ratio is not None else []
    return Snapshot(
        now=now,
        trading_state=state,
        market=seen.market,
        ticker=seen.ticker,
        book=seen.book,
        clock_difference=seen.clock_difference,
        balances=balances,
        reserved_base=activity.reserved_base,
        reserved_quote=activity.reserved_quote,
        position=standing.position,
        last_entry_at=activity.last_entry_at,
        activity=activity,
        first_candle_at=_first_candle_at(runtime, uow, proposal.symbol, now)
        if asked.min_market_age is not None
        else None,
        recent_volume=_mean_volume(candles[-_RECENT:]),
        usual_volume=_mean_volume(candles[:-_RECENT]),
        agreed_hash=agreed_hash,
    )


def _query(
    runtime: Runtime, proposal: Proposal, now: datetime, balances_asked_at: datetime | None
) -> ActivityQuery:
    asked = runtime.limits
    return ActivityQuery(
        account=proposal.account,
        agent=proposal.agent,
        symbol=proposal.symbol,
        side=proposal.side.value,
        now=now,
        lookback=runtime.settings.risk.lookback,
        recent=max(asked.cooldown, asked.duplicate_window or timedelta(0)),
        balances_asked_at=balances_asked_at,
    )


def _candles(runtime: Runtime, uow: UnitOfWork, symbol: str, now: datetime) -> Sequence[Candle]:
    """Those up to now; none where the newest should have been followed by another since."""
    timeframe = runtime.settings.market.timeframe
    candles = uow.candles.history(symbol, timeframe, until=now, limit=_RECENT + _USUAL)
    is_fresh = bool(candles) and now - candles[-1].close_time < 2 * timeframe_duration(timeframe)
    return candles if is_fresh else []


def _first_candle_at(runtime: Runtime, uow: UnitOfWork, symbol: str, now: datetime) -> datetime | None:
    timeframe = runtime.settings.market.timeframe
    first = uow.candles.after(symbol, timeframe, since=_EVER, until=now, limit=1)
    return first[0].open_time if first else None


def _mean_volume(candles: Sequence[Candle]) -> Decimal | None:
    """None for fewer candles than say anything."""
    if len(candles) < _RECENT:
        return None
    return sum((candle.volume for candle in candles), Decimal(0)) / len(candles)


def figures(seen: Snapshot) -> dict[str, Any]:
    """What the kernel saw, for the decision's row: JSON-ready, decimals with every digit."""
    ticker, position, book = seen.ticker, seen.position, seen.book
    shown: dict[str, object] = {
        "now": seen.now,
        "trading_state": seen.trading_state,
        "bid": ticker.bid if ticker else None,
        "ask": ticker.ask if ticker else None,
        "price_as_of": ticker.as_of if ticker else None,
        "book_levels": [len(book.bids), len(book.asks)] if book else None,
        "clock_difference": seen.clock_difference,
        "position": position.quantity if position else None,
        "agreed_hash": seen.agreed_hash,
    }
    if seen.activity is not None:
        shown |= {name: getattr(seen.activity, name) for name in _COUNTED}
    return {name: _PLAIN.get(type(value), _as_it_is)(value) for name, value in shown.items()}


def _as_it_is(value: object) -> object:
    return value


_COUNTED = tuple(field.name for field in fields(Activity))
_PLAIN: Mapping[type, Callable[[Any], object]] = {
    Decimal: "{:f}".format,
    datetime: datetime.isoformat,
    timedelta: str,
}
