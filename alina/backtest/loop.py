"""Through history in the order of time, stopping only where something can happen.

At the close of a candle the agent's cycle runs, where its gate may see something. Between two closes it is
the exchange's open orders that act, and what the software watches: a stop that does not rest on the
exchange, a target, a time limit. When each is met follows from the path of the price, exactly, so the loop
goes from one such moment to the next. Everything that is done there is the running system's own code.

`every` visits each close of each symbol instead. It gives the same, and takes longer.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from uuid import UUID

import numpy as np

from alina.backtest.equity import Denial, Outcome, align
from alina.backtest.runtime import World, quote_of
from alina.backtest.worth import WorthKeeper
from alina.domain.orders import Fill
from alina.domain.portfolio import Position
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.orchestrator import cycle, execution, protection, stops
from alina.venue.foresight import Foresight
from alina.venue.markets import ListedMarket

Progress = Callable[[datetime], None]
#: what must be held of a symbol for its agent to see something
_FLAT, _HOLDING = 1, 2
#: new objects after which the collector of cycles looks at them
_YOUNG = 50_000


def run(world: World, *, every: bool = False, progress: Progress | None = None) -> Outcome:
    """Run the agent from the world's beginning to its end. Raises what a cycle raises.

    `progress` is told the market time now and then.
    """
    loop = _Loop(world)
    with _rare_collections():
        for moment, candidates in _closes(world, every=every):
            loop.come_to(moment)
            for symbol, when in candidates:
                if when & (_HOLDING if loop.is_holding(symbol) else _FLAT):
                    loop.decide(symbol)
            if progress is not None:
                progress(utc_from_ms(moment))
        loop.come_to(world.end_ms)
        return _outcome(world, loop.stepped_back)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """A run keeps records by the thousand and leaves hardly a cycle: looking for them took a tenth of it."""
    young, *older = gc.get_threshold()
    gc.set_threshold(max(young, _YOUNG), *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


def _closes(world: World, *, every: bool) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """The closes at which a cycle may do something, ms, each with its symbols in their order, and when."""
    screen = None if every else getattr(world.agent, "candidates", None)
    times, owners, whens = [], [], []
    for number, symbol in enumerate(world.history.symbols):
        closes = world.history.closes_at(symbol)
        when = np.full(len(closes), _FLAT | _HOLDING)
        if screen is not None:
            seen = screen(world.history.bars(symbol))
            when = seen.flat * _FLAT | seen.holding * _HOLDING
        wanted = (closes >= world.start_ms) & (closes < world.end_ms) & (when > 0)
        times.append(closes[wanted])
        whens.append(when[wanted])
        owners.append(np.full(len(times[-1]), number))
    moments, numbers, flags = (np.concatenate(parts) for parts in (times, owners, whens))
    order = np.lexsort((numbers, moments))
    rows = zip(*(part[order].tolist() for part in (moments, numbers, flags)), strict=True)
    for moment, group in groupby(rows, key=lambda row: row[0]):
        yield moment, [(world.history.symbols[number], flag) for _, number, flag in group]


class _Loop:
    """Where the run stands."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._runtime = world.runtime
        self._agent = world.agent.name
        self._worth = WorthKeeper(world)
        #: by symbol: before this time (ms) the software does not look at its position again
        self._look_from: dict[str, int] = {}
        #: by position: when its target and when its stop is reached
        self._exits: dict[UUID, tuple[Foresight, ...]] = {}

    @property
    def stepped_back(self) -> str:
        return self._worth.stepped_back

    def come_to(self, end: int) -> None:
        """Let happen what happens until then, ms."""
        while (moment := self._next_moment(end)) is not None:
            self._watch_losses(moment)
            self._advance(moment)
            self._act()
        self._watch_losses(end)
        self._advance(end)

    def is_holding(self, symbol: str) -> bool:
        return self._world.ledger.open_position(self._runtime.account, symbol) is not None

    def decide(self, symbol: str) -> None:
        """The agent's cycle of a symbol at the close that is now, and what follows from it."""
        as_of, timeframe = self._runtime.clock.now(), self._world.history.timeframe
        key = cycle.candle_key(self._agent, symbol, timeframe, as_of)
        cycle.run(self._runtime, agent_name=self._agent, symbol=symbol, as_of=as_of, key=key)
        if self._world.messages:
            self._worth.record()
            self._world.work_off()
            self._worth.look()

    def _advance(self, moment: int) -> None:
        self._world.exchange.advance(utc_from_ms(moment))

    def _act(self) -> None:
        """What the execution process does at each of its passes, now."""
        self._worth.record()
        execution.settle_all(self._runtime)
        self._world.work_off()
        for position in self._world.ledger.open_positions(self._runtime.account):
            self._watch(position)
        stops.protect(self._runtime)
        self._world.work_off()
        protection.close_dust(self._runtime)
        self._worth.look()

    def _watch_losses(self, end: int) -> None:
        """What reconciliation does about the losses until then, ms."""
        while (tick := self._worth.next_loss(end)) is not None:
            self._advance(tick)
            self._worth.watch()

    def _watch(self, position: Position) -> None:
        """Propose the exit that is due, once a candle: what was refused is refused again a moment later."""
        symbol, now = position.symbol, ms_from_utc(self._runtime.clock.now())
        if protection.due(position, self._runtime.exchange.ticker(symbol), self._runtime.clock.now()) is None:
            return
        protection.propose_exits(self._runtime, symbol)
        self._world.work_off()
        self._look_from[symbol] = self._world.history.next_open(symbol, now) or self._world.end_ms

    def _next_moment(self, end: int) -> int | None:
        """When something acts in (now, end], ms; None: nothing does."""
        now = ms_from_utc(self._runtime.clock.now())
        moments = [self._world.exchange.next_moment(utc_from_ms(end))]
        met = [ms_from_utc(moment) for moment in moments if moment is not None]
        for position in self._world.ledger.open_positions(self._runtime.account):
            since = max(now, self._look_from.get(position.symbol, 0) - 1)
            if since < end:
                met += self._due_at(position, since, end)
        return min(met, default=None)

    def _due_at(self, position: Position, since: int, end: int) -> Iterator[int]:
        """When in (since, end] the software would first see each reason to close it."""
        if position.close_after is not None:
            due = max(ms_from_utc(position.close_after), since + 1)
            if due <= end:
                yield due
        target, stop = self._foreseen(position)
        reached = target.first(since, end)
        if reached is not None:
            yield reached
        if position.stop_price is not None and not self._world.exchange.has_open_orders(position.symbol):
            reached = stop.first(since, end)
            if reached is not None:
                yield reached

    def _foreseen(self, position: Position) -> tuple[Foresight, ...]:
        """When the bid comes to the target and when to the stop of a position."""
        if position.id not in self._exits:
            market = self._world.markets[position.symbol]
            self._exits[position.id] = tuple(
                Foresight(search, market.replay.interval_ms)
                for search in (
                    _rises_to(market, position.take_profit_price),
                    _falls_to(market, position.stop_price),
                )
            )
        return self._exits[position.id]


def _rises_to(market: ListedMarket, target: Decimal | None) -> Callable[[int, int], int | None]:
    """What finds the first moment at which the bid is not below `target`."""
    if target is None:
        return _never
    return partial(market.replay.first_at_or_above, market.quotes.price_where_bid_is(target))


def _falls_to(market: ListedMarket, stop: Decimal | None) -> Callable[[int, int], int | None]:
    """What finds the first moment at which the bid is not above `stop`."""
    if stop is None:
        return _never
    tick = market.rules.tick_size
    return partial(market.replay.first_at_or_below, market.quotes.price_where_bid_is(stop + tick) - tick)


def _never(since: int, until: int) -> None:
    return None


def _outcome(world: World, stepped_back: str) -> Outcome:
    account = world.runtime.account
    closes = {}
    for symbol in world.history.symbols:
        times, close = world.history.closes_at(symbol), world.history.bars(symbol).close
        wanted = (times >= world.start_ms) & (times <= world.end_ms)
        closes[symbol] = (times[wanted], close[wanted])
    fills: list[Fill] = [fill for s in world.history.symbols for fill in world.ledger.fills(account, s)]
    positions = [
        *world.ledger.closed_trades(account=account, limit=len(fills) + 1),
        *world.ledger.open_positions(account),
    ]
    opening = world.ledger.opening_balances(account)
    return Outcome(
        agent=world.agent.name,
        timeframe=world.history.timeframe,
        quote=quote_of(world.history.symbols),
        opening={asset: held.total for asset, held in opening.items() if held.total},
        prices=align(closes),
        fills=tuple(sorted(fills, key=lambda fill: (fill.executed_at, int(fill.trade_id)))),
        positions=tuple(sorted(positions, key=lambda one: (one.opened_at, one.symbol))),
        taker_fee=world.runtime.settings.market.venue.taker_fee or Decimal(0),
        stepped_back=stepped_back,
        denied=_denials(world),
    )


def _denials(world: World) -> tuple[Denial, ...]:
    """The decisions that let nothing happen, by their reason."""
    denied: dict[str, list[str]] = {}
    for one in world.ledger.all_decisions():
        if one.verdict != "approved":
            denied.setdefault(one.reason.name if one.reason else "NEEDS_APPROVAL", []).append(one.message)
    told = (Denial(reason, len(messages), messages[0]) for reason, messages in denied.items())
    return tuple(sorted(told, key=lambda one: (-one.count, one.reason)))
