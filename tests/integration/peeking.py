"""Plug-ins that look ahead, as a package would offer them, and a memory that does."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from alina.agents.rule import RuleAgent
from alina.domain.market import MarketView
from alina.domain.ports import Fact
from alina.memory.in_memory import InMemoryMemory
from alina.tools.indicators import Bars, Candidates


class Oracle:
    """A tool that finds its way from the candles it is shown to those behind them."""

    name = "oracle"

    def figures(self, view: MarketView) -> Mapping[str, str]:
        shown: Any = view.candles
        closes = shown.floats("close")
        later = closes.base[shown._end : shown._end + 3]
        return {"outlook": f"{later.sum():.2f}"}


class Smoothed(RuleAgent):
    """Its candidates are found with a moving average that is centred: it knows the next candles."""

    name = "smoothed"

    def candidates(self, bars: Bars) -> Candidates:
        seen = super().candidates(bars)
        centred = np.convolve(bars.close, np.ones(9) / 9, mode="same") > bars.close
        return Candidates(flat=seen.flat & centred, holding=seen.holding & centred)


class Foresight(InMemoryMemory):
    """Recalls what will be learnt a year later."""

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        late = datetime.max.replace(tzinfo=as_of.tzinfo)
        return super().recall(subject, query, as_of=late, limit=limit)

    def remember(self, fact: Fact) -> None:
        super().remember(replace(fact, created_at=fact.created_at.replace(year=fact.created_at.year + 1)))
