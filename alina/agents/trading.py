"""The trading agent: a cheap gate, a schema-bound answer, a size rule, one wish."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from alina.agents.base import Hold, Situation, Wish
from alina.agents.quotes import other_symbols, texts_in, untold_figures
from alina.config import Settings
from alina.domain.orders import OrderSide
from alina.domain.portfolio import CloseReason
from alina.tools import indicators

# Without figures in the reasons: a small model would copy them into its own.
SYSTEM_PROMPT = """\
You are a trader of one crypto symbol on the spot market, long only.
You get figures and answer with one JSON object. Examples:
{"rationale": "The trend is up and RSI is low, so this dip can be bought.", "action": "buy", \
"size_percent": 60, "confidence": 72, "stop_percent": 2}
{"rationale": "The trend is down and volume is falling, so it is better to wait.", "action": "hold", \
"size_percent": 10, "confidence": 64, "stop_percent": 2}
{"rationale": "RSI is high and the price fell in the last candle, so the move is over.", \
"action": "sell", "confidence": 70}
{"rationale": "The trend is up and RSI is moderate, so the position may run.", "action": "hold", \
"confidence": 66}
"""

USER_TEMPLATE = """\
{{ symbol }}, {{ timeframe }} candles, price {{ price }}.
{% for label, value in figures -%}
{{ label }}: {{ value }}
{% endfor -%}
Last closes: {{ closes | join(", ") }}
Position: {{ position }}
{% if facts -%}
What happened before:
{% for fact in facts -%}
- {{ fact | fence }}
{% endfor -%}
{% endif -%}
What does the trend say, what does the RSI say, and is it better to {{ actions | join(" or to ") }}?
"""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("the rationale holds control characters: use plain words")
    return text


Rationale = Annotated[str, Field(min_length=12, max_length=120), AfterValidator(_printable)]
Percent = Annotated[int, Field(ge=0, le=100)]


class _Answer(BaseModel):
    """Fields in the order in which the model writes them: reasons before the choice."""

    model_config = ConfigDict(extra="forbid")


class FlatAnswer(_Answer):
    """With nothing held: buy or hold."""

    rationale: Rationale
    action: Literal["buy", "hold"]
    #: of the largest amount that one proposal may ask for
    size_percent: Annotated[int, Field(ge=1, le=100)]
    confidence: Percent
    #: distance of the stop below the entry, in percent of the price
    stop_percent: Annotated[int, Field(ge=1, le=10)]


class HoldingAnswer(_Answer):
    """With a position open: sell it all, or hold it."""

    rationale: Rationale
    action: Literal["sell", "hold"]
    confidence: Percent


class TradingAgent:
    """Buys when flat, sells when holding, or holds; see `Agent` for the contract."""

    name = "trading"
    system_prompt = SYSTEM_PROMPT
    user_template = USER_TEMPLATE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.trading

    def gate(self, situation: Situation) -> str | None:
        """Worth asking: a held position, crossing averages, an extreme RSI or a broken range."""
        values = indicators.compute(situation.view)
        if values is None:
            return None
        if self._settings.gate_always_ask:
            return "asked at every candle"
        if situation.position is not None:
            return "a position is open"
        if values.crossed:
            return "the moving averages crossed"
        if not 30 < values.rsi < 70:
            return f"RSI {values.rsi:.0f}"
        if not values.channel_low < values.close < values.channel_high:
            return "the price left its range"
        return None

    def context(self, situation: Situation) -> Mapping[str, Any]:
        view = situation.view
        return {
            "symbol": view.symbol,
            "timeframe": view.timeframe,
            "price": _plain(situation.ticker.last),
            # pairs, not a mapping: the database keeps their order
            "figures": [[label, value] for label, value in situation.figures.items()],
            "closes": [_plain(candle.close) for candle in view.candles[-6:]],
            "position": self._position_text(situation),
            "facts": list(situation.facts),
            "actions": ["buy", "hold"] if situation.position is None else ["sell", "hold"],
        }

    def answer_type(self, situation: Situation) -> type[BaseModel]:
        return FlatAnswer if situation.position is None else HoldingAnswer

    def check(self, context: Mapping[str, Any], answer: BaseModel) -> None:
        """What the rationale quotes was told: no figure is invented or copied, no other symbol is meant."""
        rationale = str(getattr(answer, "rationale", ""))
        if not self._settings.check_rationale:
            return
        own = (str(value) for value in answer.model_dump().values() if isinstance(value, int))
        if untold := untold_figures(rationale, [*texts_in(context), *own]):
            raise ValueError(
                f"the rationale quotes {', '.join(untold)}, which nobody told: quote what was told"
            )
        if others := other_symbols(rationale, context["symbol"]):
            raise ValueError(
                f"the rationale is about {', '.join(others)}: the question is {context['symbol']}"
            )

    def wish(self, situation: Situation, answer: BaseModel) -> Wish | Hold:
        if not isinstance(answer, FlatAnswer | HoldingAnswer):
            raise TypeError(f"{type(answer).__name__} is no answer to this agent's question")
        if answer.action == "hold":
            return Hold(reason=f"hold: {answer.rationale}")
        if answer.confidence < self._settings.confidence_min:
            return Hold(
                reason=f"{answer.action} with confidence {answer.confidence}, "
                f"below {self._settings.confidence_min}: {answer.rationale}"
            )
        return (
            self._buy(situation, answer) if isinstance(answer, FlatAnswer) else self._sell(situation, answer)
        )

    def _buy(self, situation: Situation, answer: FlatAnswer) -> Wish | Hold:
        """The size rule: a percentage of the largest fraction of the free quote, on the lot grid."""
        market, price = situation.market, situation.ticker.ask
        budget = situation.free_quote * self._settings.trade_fraction_max * answer.size_percent / 100
        quantity = market.quantity_down(budget / price)
        if quantity < market.min_quantity or quantity * price < market.min_notional:
            return Hold(reason=f"buy of {budget:.2f} {market.quote} is below the exchange's minimum")
        stop = min(Decimal(answer.stop_percent) / 100, self._settings.stop_loss)
        target = self._settings.take_profit
        return Wish(
            side=OrderSide.BUY,
            quantity=quantity,
            reference_price=price,
            close_reason=None,
            stop_price=market.price_for(price * (1 - stop), is_buy=True),
            take_profit_price=None
            if target is None
            else market.price_for(price * (1 + target), is_buy=False),
            confidence=answer.confidence,
            rationale=answer.rationale,
        )

    def _sell(self, situation: Situation, answer: HoldingAnswer) -> Wish | Hold:
        position = situation.position
        quantity = situation.market.quantity_down(position.quantity) if position else Decimal(0)
        if quantity <= 0:
            return Hold(reason="nothing left to sell")
        return Wish(
            side=OrderSide.SELL,
            quantity=quantity,
            reference_price=situation.ticker.bid,
            close_reason=CloseReason.AGENT,
            stop_price=None,
            take_profit_price=None,
            confidence=answer.confidence,
            rationale=answer.rationale,
        )

    @staticmethod
    def _position_text(situation: Situation) -> str:
        position = situation.position
        if position is None:
            return "none"
        change = situation.ticker.bid / position.average_price - 1
        return f"long, bought at {position.average_price:.2f}, now {change:+.2%}"


def _plain(value: Decimal) -> str:
    """Digits without trailing zeros: every token of a prompt costs time."""
    return f"{value.normalize():f}"
