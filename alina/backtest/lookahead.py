"""Whether anything in a run knew what had not happened yet.

The run is repeated up to some of its moments, with the future removed and with the future poisoned: other
prices and volumes in its place. What was found, recalled and decided until then must be the same; what
differs was told by the future, or by chance, and is named.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import numpy as np

from alina.backtest import loop
from alina.backtest.runtime import World
from alina.domain.market import MarketView
from alina.domain.ports import Fact, Memory, Tool
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.domain.runs import RunState
from alina.errors import DataError
from alina.market_data.bars import BarColumns
from alina.market_data.decimals import DecimalColumn
from alina.orchestrator.runtime import UnitOfWork
from alina.venue.candles_csv import Series

#: A fresh world, with a memory of its own, on these series; its start and end in market ms, None: as far
#: as they reach.
MakeWorld = Callable[[Mapping[str, Series], int | None, int | None], World]

#: moments up to which the run is repeated
CUTS = 4
_SEED = 7
#: the poisoned future jumps between these multiples of the true one; whole, so that no decimals are added
_MULTIPLES = (2, 5)

#: as_of and symbol -> what was seen there
_Seen = dict[tuple[datetime, str], Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """A part that says something else of the same past."""

    #: e.g. "tool news", "memory", "candidates of rule", "agent rule", "exchange"
    part: str
    symbol: str
    #: where it first did
    as_of: datetime
    #: e.g. "with the future removed"
    how: str

    def __str__(self) -> str:
        return f"{self.part} on {self.symbol} at {self.as_of:%Y-%m-%d %H:%M} is another {self.how}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: the parts that looked ahead, each once."""

    findings: tuple[Finding, ...]
    #: the moments up to which the run was repeated
    cuts: tuple[datetime, ...]


def check(make: MakeWorld, series: Mapping[str, Series], *, cuts: int = CUTS) -> Checked:
    """Repeat the run up to `cuts` moments: half of them where it proposed a trade, the others anywhere.

    Raises DataError where the run has no decision to check, and what a run raises.
    """
    whole = _Watched(make(series, None, None)).run()
    if not whole.runs:
        raise DataError("no candle of this run had anything to decide: check a longer time with --from, --to")
    moments = _cuts(whole, cuts)
    findings = list(whole.too_young())
    for moment in moments:
        at = ms_from_utc(moment)
        for how, changed in (("removed", _removed), ("poisoned", _poisoned)):
            other = {symbol: changed(one, at) for symbol, one in series.items()}
            again = _Watched(make(other, whole.world.start_ms, at + 1)).run()
            findings += whole.differences(again, moment, f"with the future {how}")
    once = {finding.part: finding for finding in reversed(findings)}
    return Checked(tuple(once.values())[::-1], tuple(moments))


def _cuts(whole: "_Watched", count: int) -> list[datetime]:
    """Up to `count` moments: of the proposals, or decisions without any, the last one and others evenly;
    and drawn from all closes before that."""
    proposed = {as_of for (as_of, _), run in whole.runs.items() if run[0] is RunState.PROPOSED}
    decided = _spread(sorted(proposed or {as_of for as_of, _ in whole.runs}), -(-count // 2))
    history, start, end = whole.world.history, whole.world.start_ms, ms_from_utc(decided[-1])
    every = np.unique(np.concatenate([history.closes_at(symbol) for symbol in history.symbols]))
    others = every[(every >= start) & (every < end)].tolist()
    dice = random.Random(_SEED)  # noqa: S311  # it must be repeatable
    drawn = dice.sample(others, min(count - len(decided), len(others)))
    return sorted({*decided, *map(utc_from_ms, drawn)})


def _spread(moments: Sequence[datetime], count: int) -> list[datetime]:
    """Up to `count` of them, the last one among them."""
    return [
        moments[len(moments) * part // count - 1]
        for part in range(1, count + 1)
        if part * len(moments) >= count
    ]


class _Watched:
    """A run that keeps what its parts say."""

    def __init__(self, world: World) -> None:
        self.tools: dict[str, _Seen] = {tool.name: {} for tool in world.runtime.tools}
        self.recalled: _Seen = {}
        self.runs: _Seen = {}
        tools: tuple[Tool, ...] = tuple(
            _WatchedTool(tool.name, tool, self.tools[tool.name]) for tool in world.runtime.tools
        )
        inner = world.runtime.unit_of_work

        @contextmanager
        def unit_of_work() -> Iterator[UnitOfWork]:
            with inner() as work:
                memory = cast("Memory", _WatchedMemory(work.memory, self.recalled))
                yield UnitOfWork(work.ledger, work.candles, memory)

        self.world = replace(world, runtime=replace(world.runtime, tools=tools, unit_of_work=unit_of_work))

    def run(self) -> "_Watched":
        self._outcome = loop.run(self.world)
        for run in self.world.ledger.runs(limit=2**31):
            self.runs[run.as_of, run.symbol] = (run.state, run.summary, run.context)
        return self

    def too_young(self) -> Iterator[Finding]:
        """What was recalled before it was learnt."""
        for (as_of, symbol), facts in sorted(self.recalled.items()):
            if any(created_at > as_of for _, created_at in facts):
                yield Finding("memory", symbol, as_of, "than it may be: it tells what is learnt later")

    def differences(self, other: "_Watched", until: datetime, how: str) -> Iterable[Finding]:
        """The parts that are to blame, not those that only followed them."""
        own = [*self._screens(other, until, how)]
        for name, seen in self.tools.items():
            own += _first(f"tool {name}", seen, other.tools[name], until, how, only_common=True)
        if own:
            return own
        return (
            _first("memory", self.recalled, other.recalled, until, how, only_common=True)
            or _first(f"agent {self.world.agent.name}", self.runs, other.runs, until, how)
            or _first("exchange", self._fills(until), other._fills(until), until, how)
        )

    def _screens(self, other: "_Watched", until: datetime, how: str) -> Iterator[Finding]:
        """Where the agent's look over whole arrays differs."""
        screen = getattr(self.world.agent, "candidates", None)
        if screen is None:
            return
        for symbol in self.world.history.symbols:
            closes = self.world.history.closes_at(symbol)
            past = int(np.searchsorted(closes, ms_from_utc(until), side="right"))
            one, two = (screen(watched.world.history.bars(symbol)) for watched in (self, other))
            differs = (one.flat[:past] != two.flat[:past]) | (one.holding[:past] != two.holding[:past])
            if differs.any():
                as_of = utc_from_ms(int(closes[int(np.argmax(differs))]))
                yield Finding(f"candidates of {self.world.agent.name}", symbol, as_of, how)

    def _fills(self, until: datetime) -> _Seen:
        """What was executed before the last moment."""
        fills: _Seen = {}
        for fill in self._outcome.fills:
            if fill.executed_at < until:
                fills.setdefault((fill.executed_at, fill.symbol), []).append(fill)
        return fills


def _first(
    part: str, one: _Seen, other: _Seen, until: datetime, how: str, *, only_common: bool = False
) -> list[Finding]:
    """The first place up to `until` where the two differ, if any."""
    keys: Iterable[tuple[datetime, str]] = (
        one.keys() & other.keys() if only_common else one.keys() | other.keys()
    )
    different = [key for key in keys if key[0] <= until and one.get(key) != other.get(key)]
    return [Finding(part, min(different)[1], min(different)[0], how)] if different else []


@dataclass(slots=True)
class _WatchedTool:
    """Keeps what the tool finds."""

    name: str
    tool: Tool
    seen: _Seen

    def figures(self, view: MarketView) -> Mapping[str, str]:
        found = self.tool.figures(view)
        self.seen[view.as_of, view.symbol] = dict(found)
        return found


@dataclass(frozen=True, slots=True)
class _WatchedMemory:
    """Keeps what is recalled; all else is the memory's own."""

    memory: Memory
    seen: _Seen

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        facts = self.memory.recall(subject, query, as_of=as_of, limit=limit)
        self.seen[as_of, subject] = [(fact.text, fact.created_at) for fact in facts]
        return facts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


@dataclass(frozen=True, slots=True)
class _Changed(Series):
    """A series whose market keeps its tick: the exchange's rules are no knowledge of the future."""

    decimals: int = field(default=0)

    @property
    def price_decimals(self) -> int:
        return self.decimals


def _removed(series: Series, at: int) -> Series:
    """Nothing after `at` but the price at which the next candle opens, where what is decided is filled."""
    past, future = _split(series.bars, at)
    opening = [one._replace(high=one.open, low=one.open, close=one.open) for one in future[:1]]
    return _changed(series, [past, BarColumns.of(opening)])


def _poisoned(series: Series, at: int) -> Series:
    """Other candles after `at`, but for the price at which the next one opens."""
    past, future = _split(series.bars, at)
    other = _multiplied(future)
    opening = [
        bar._replace(open=true.open, low=min(true.open, bar.low))
        for true, bar in zip(future[:1], other[:1], strict=True)
    ]
    return _changed(series, [past, BarColumns.of(opening), other[1:]])


def _multiplied(bars: BarColumns) -> BarColumns:
    multiples = np.resize(_MULTIPLES, len(bars))
    columns = (DecimalColumn(one.digits * multiples, one.exponents) for one in bars.figures)
    return BarColumns(bars.open_ms, *columns)


def _split(bars: BarColumns, at: int) -> tuple[BarColumns, BarColumns]:
    """Those that are closed at `at`, and the others: candles lie on one grid."""
    past = int(np.searchsorted(bars.open_ms, at))
    return bars[:past], bars[past:]


def _changed(series: Series, parts: Sequence[BarColumns]) -> Series:
    bars = BarColumns.joined(parts)
    gaps = tuple(gap for gap in series.gaps if gap.end_ms <= bars[-1].open_ms)
    return _Changed(series.name, series.interval_ms, bars, gaps, series.price_decimals)
