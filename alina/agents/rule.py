"""The rule agent: crossing averages and the RSI decide, and no model is asked.

It is what a model has to beat, and what shows that backtest, paper and live trade alike.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from alina.agents.base import Situation
from alina.agents.trading import FlatAnswer, HoldingAnswer, TradingAgent
from alina.config import Settings
from alina.tools.indicators import (
    Bars,
    Candidates,
    Series,
    column,
    ema_ends,
    ema_windows,
    rsi_end,
    rsi_windows,
)

#: far more than two ways of adding the same floats can differ by, as a fraction of the price or of 100
_DOUBT = 1e-9


class RuleAgent(TradingAgent):
    """Buys where the fast average crosses above the slow one and the RSI is not high yet; sells where it
    crosses below. Size, stop and target are those of the trading agent.
    """

    name = "rule"
    system_prompt = "This agent asks no model."
    user_template = "{{ symbol }}"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._rule = settings.trading.rule
        self._history = settings.market.history
        #: what a model would have been asked for
        reason = "the averages crossed"
        self._buy_answer = FlatAnswer(
            rationale=reason,
            action="buy",
            size_percent=self._rule.size_percent,
            confidence=100,
            stop_percent=10,
        )
        self._sell_answer = HoldingAnswer(rationale=reason, action="sell", confidence=100)

    def gate(self, situation: Situation) -> str | None:
        """The crossing that its position can follow."""
        close = column(situation.view, "close")
        crossing = self._crossing(close)
        if crossing != (1 if situation.position is None else -1):
            return None
        strength = rsi_end(close, self._rule.rsi_period)
        if crossing > 0 and strength >= self._rule.rsi_max:
            return None
        return (
            f"EMA{self._rule.ema_fast} crossed {'above' if crossing > 0 else 'below'} "
            f"EMA{self._rule.ema_slow}, RSI {strength:.0f}"
        )

    def candidates(self, bars: Bars) -> Candidates:
        """Where `gate` may see something; never too few.

        The same windows as `gate` sees, summed in another order: a bar in doubt is one.
        """
        rule, close = self._rule, bars.close
        fast = ema_windows(close, rule.ema_fast, self._history)
        slow = ema_windows(close, rule.ema_slow, self._history)
        now = fast - slow
        before = _without_last(fast, close, rule.ema_fast) - _without_last(slow, close, rule.ema_slow)
        doubt = _DOUBT * close
        up, down = (before <= doubt) & (now >= -doubt), (before >= -doubt) & (now <= doubt)
        weak = rsi_windows(close, rule.rsi_period, self._history) < rule.rsi_max + 100 * _DOUBT
        known = np.arange(len(close)) >= rule.warm_up - 1
        return Candidates(flat=known & up & weak, holding=known & down)

    def answer(self, situation: Situation) -> BaseModel:
        """To buy where nothing is held, else to sell: the gate saw the crossing for it."""
        return self._buy_answer if situation.position is None else self._sell_answer

    def context(self, situation: Situation) -> Mapping[str, Any]:
        """Nothing is asked, so nothing is kept: the run's summary says why."""
        return {}

    def _crossing(self, close: Series) -> int:
        """1: the fast average crossed above the slow one within the last candle, -1: below, 0: neither."""
        if len(close) < self._rule.warm_up:
            return 0
        was_fast, fast = ema_ends(close, self._rule.ema_fast)
        was_slow, slow = ema_ends(close, self._rule.ema_slow)
        is_above, was_above = fast > slow, was_fast > was_slow
        return is_above - was_above


def _without_last(average: Series, close: Series, period: int) -> Series:
    """The average one candle earlier, in the same window."""
    alpha = 2 / (period + 1)
    return (average - alpha * close) / (1 - alpha)
