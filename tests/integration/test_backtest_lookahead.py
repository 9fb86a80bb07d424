"""A run that knows what has not happened yet is found out, and the part that knew it is named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest

from alina.agents.rule import RuleAgent
from alina.backtest import lookahead, loop
from alina.backtest.runtime import World, make_world
from alina.config import Settings
from alina.domain.market import MarketView
from alina.domain.ports import Fact, Tool
from alina.domain.records import ms_from_utc
from alina.errors import DataError
from alina.llm.scripted import ScriptedModel
from alina.market_data.bars import BarColumns
from alina.memory.in_memory import InMemoryMemory
from alina.tools.indicators import Bars, Candidates, IndicatorsTool
from alina.venue.candles_csv import Series
from alina.venue.synthetic import synthetic_series

SYMBOL = "C1/USDT"
HELD = {"market": {"venue": {"balances": {"USDT": "10000"}}}}
ANSWERS = (
    b'{"rationale": "The trend is up.", "action": "buy", "size_percent": 40, "confidence": 70, '
    b'"stop_percent": 1}\n'
    b'{"rationale": "The move is over.", "action": "sell", "confidence": 70}\n'
)
Changed = Callable[[World, Series], World]


def market(bars: int) -> dict[str, Series]:
    whole = synthetic_series(1, "1h")
    kept = whole.bars[:bars]
    gaps = tuple(gap for gap in whole.gaps if gap.end_ms <= kept[-1].open_ms)
    return {SYMBOL: Series(whole.name, whole.interval_ms, kept, gaps)}


def checked(
    *, agent: str = "trading", bars: int = 150, memory: type[InMemoryMemory] | None = None, **changes: Changed
) -> list[str]:
    """The parts that are named, of a run whose world was changed so."""
    settings = Settings(**HELD, trading={"gate_always_ask": True}, risk={"cooldown": "1m"})  # type: ignore[arg-type]

    def make(series: Mapping[str, Series], start_ms: int | None, end_ms: int | None) -> World:
        world = make_world(
            settings,
            series,
            agent=agent,
            model=lambda: ScriptedModel("answers.jsonl", ANSWERS, context_length=2048, threads=1),
            memory=memory(Letters()) if memory is not None else None,
            start_ms=start_ms,
            end_ms=end_ms,
        )
        for change in changes.values():
            world = change(world, series[SYMBOL])
        return world

    return [finding.part for finding in lookahead.check(make, market(bars), cuts=2).findings]


class Letters:
    """An embedder: how often each letter stands in the text."""

    dimensions = 26

    def embed(self, texts: list[str]) -> list[tuple[float, ...]]:
        return [tuple(float(text.lower().count(chr(97 + n))) for n in range(26)) for text in texts]


class Oracle:
    """A tool that tells the close of the candle that opens now, from data of its own."""

    name = "oracle"

    def __init__(self, series: Series) -> None:
        self._closes = {bar.open_ms: bar.close for bar in series.bars}

    def figures(self, view: MarketView) -> Mapping[str, str]:
        return {"outlook": str(self._closes.get(ms_from_utc(view.as_of), Decimal(0)))}


class Prophet(RuleAgent):
    """Sees a candidate only where the market will have risen ten candles on."""

    def candidates(self, bars: Bars) -> Candidates:
        seen = super().candidates(bars)
        later = np.append(bars.close[10:], np.zeros(10)) > bars.close
        return Candidates(flat=seen.flat & later, holding=seen.holding)


class Prescient(RuleAgent):
    """Decides by data that it has beside the situation."""

    closes: Mapping[int, Decimal]

    def gate(self, situation: object) -> str | None:
        view: MarketView = situation.view  # type: ignore[attr-defined]
        later = self.closes.get(ms_from_utc(view.as_of), Decimal(0))
        return super().gate(situation) if later > view.candles[-1].close else None  # type: ignore[arg-type]


class Foresight(InMemoryMemory):
    """A memory that recalls all that it will ever be told."""

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        late = datetime.max.replace(tzinfo=as_of.tzinfo)
        return super().recall(subject, query, as_of=late, limit=limit)

    def remember(self, fact: Fact) -> None:
        super().remember(replace(fact, created_at=fact.created_at.replace(year=fact.created_at.year + 1)))


def with_tools(*tools: Tool) -> Changed:
    return lambda world, series: replace(world, runtime=replace(world.runtime, tools=tools))


def with_agent(kind: type[RuleAgent]) -> Changed:
    def changed(world: World, series: Series) -> World:
        agent = kind(world.runtime.settings)
        agent.closes = {bar.open_ms: bar.close for bar in series.bars}  # type: ignore[attr-defined]
        return replace(world, agent=agent, runtime=replace(world.runtime, agents={"rule": agent}))

    return changed


def test_what_is_built_in_looks_at_nothing_that_comes_later() -> None:
    assert checked() == []
    assert checked(agent="rule", bars=1200) == []


def test_another_future_changes_nothing_of_the_past() -> None:
    settings, whole = Settings(**HELD, risk={"cooldown": "1m"}), market(700)  # type: ignore[arg-type]
    true = loop.run(make_world(settings, whole, agent="rule"))
    middle = true.fills[len(true.fills) // 2].executed_at
    past = int(np.searchsorted(whole[SYMBOL].bars.open_ms, ms_from_utc(middle), side="right"))
    bars = [
        bar
        if number < past
        else bar._replace(high=bar.high + 1000, low=bar.low - 1000, volume=bar.volume * 7)
        for number, bar in enumerate(whole[SYMBOL].bars)
    ]
    other = replace(whole[SYMBOL], bars=BarColumns.of(bars))
    false = loop.run(make_world(settings, {SYMBOL: other}, agent="rule"))
    before = [fill for fill in true.fills if fill.executed_at <= middle]
    assert [fill for fill in false.fills if fill.executed_at <= middle] == before
    assert len(before) > 3
    assert false.fills != true.fills


def test_a_tool_that_looks_ahead_is_named_and_none_of_the_others() -> None:
    def cheat(world: World, series: Series) -> World:
        return with_tools(IndicatorsTool(), Oracle(series))(world, series)

    assert checked(cheat=cheat) == ["tool oracle"]


@pytest.mark.parametrize(("kind", "part"), [(Prophet, "candidates of rule"), (Prescient, "agent rule")])
def test_an_agent_that_looks_ahead_is_named(kind: type[RuleAgent], part: str) -> None:
    assert checked(agent="rule", bars=1200, change=with_agent(kind)) == [part]


def test_a_memory_that_tells_what_is_learnt_later_is_named() -> None:
    assert checked(memory=Foresight) == ["memory"]


def test_a_run_without_decisions_is_not_called_clean() -> None:
    with pytest.raises(DataError, match="check a longer time"):
        checked(agent="rule", bars=60)
