"""The trading agent: when it asks, what it may answer, and how large it wishes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from alina.agents.base import Hold, Situation, Wish, load_agent
from alina.agents.trading import SYSTEM_PROMPT, USER_TEMPLATE, FlatAnswer, HoldingAnswer, TradingAgent
from alina.bootstrap import AGENTS
from alina.config import Settings
from alina.domain.market import Candle, Market, MarketView, Ticker
from alina.domain.orders import OrderSide
from alina.domain.portfolio import CloseReason, Position
from alina.domain.runs import PromptRevision
from alina.errors import ConfigError
from alina.llm import prompts
from alina.llm.structured import schema_of
from alina.tools.indicators import WARM_UP

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SYMBOL = "BTC/USDT"
MARKET = Market(
    symbol=SYMBOL,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.05"),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.01"),
    max_quantity=None,
    min_notional=Decimal(5),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
)
TICKER = Ticker(
    symbol=SYMBOL, bid=Decimal("99.95"), ask=Decimal("100.05"), last=Decimal("100.00"), as_of=NOON
)
POSITION = Position(
    id=UUID(int=1),
    account="main",
    symbol=SYMBOL,
    quantity=Decimal("1.9985"),
    bought_quantity=Decimal("1.9985"),
    sold_quantity=Decimal(0),
    cost=Decimal(200),
    proceeds=Decimal(0),
    opened_at=NOON,
)
ANSWER = {
    "rationale": "RSI 38 in an up trend",
    "action": "buy",
    "size_percent": 50,
    "confidence": 70,
    "stop_percent": 2,
}


def view(closes: list[float]) -> MarketView:
    start = NOON - len(closes) * HOUR
    candles = tuple(
        Candle(
            symbol=SYMBOL,
            timeframe="1h",
            open_time=start + number * HOUR,
            open=Decimal(str(close)),
            high=Decimal(str(close)),
            low=Decimal(str(close)),
            close=Decimal(str(close)),
            volume=Decimal(10),
        )
        for number, close in enumerate(closes)
    )
    return MarketView(symbol=SYMBOL, timeframe="1h", as_of=NOON, candles=candles)


#: up and down by turns: no crossing at its end, RSI about 50, within its range
QUIET = [100.0, 101.0, 99.0] * 22


def situation(**changes: Any) -> Situation:
    values: dict[str, Any] = {
        "view": view(QUIET),
        "market": MARKET,
        "ticker": TICKER,
        "position": None,
        "free_quote": Decimal(10_000),
        "figures": {"trend": "up", "RSI": "55"},
        "facts": (),
    }
    return Situation(**values | changes)


def agent(**trading: Any) -> TradingAgent:
    return TradingAgent(Settings(trading=trading))  # type: ignore[arg-type]  # as config.yaml gives it


def flat(**changes: Any) -> FlatAnswer:
    return FlatAnswer(**ANSWER | changes)


def test_a_quiet_market_is_not_worth_asking_about() -> None:
    assert agent().gate(situation(view=view([*QUIET, 100.0, 100.0]))) is None


def test_too_little_history_is_never_asked_about() -> None:
    short = situation(view=view([100.0] * (WARM_UP - 1)))
    assert agent().gate(short) is None
    assert agent(gate_always_ask=True).gate(short) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": POSITION}, "a position is open"),
        ({"view": view([200.0 - number for number in range(60)])}, "RSI 0"),
        ({"view": view([100.0 + number for number in range(60)])}, "RSI 100"),
        ({"view": view([100.0, 104.0, 103.0] * 22 + [104.5])}, "the price left its range"),
        ({"view": view([100.0] * 60 + [99.0, 102.0])}, "the moving averages crossed"),
    ],
)
def test_the_gate_says_why_the_model_is_asked(changes: dict[str, Any], reason: str) -> None:
    assert agent().gate(situation(**changes)) == reason


def test_a_drill_asks_at_every_candle() -> None:
    quiet = situation(view=view([*QUIET, 100.0, 100.0]))
    assert agent(gate_always_ask=True).gate(quiet) == "asked at every candle"


def test_the_possible_answers_depend_on_the_position() -> None:
    assert agent().answer_type(situation()) is FlatAnswer
    assert agent().answer_type(situation(position=POSITION)) is HoldingAnswer
    assert agent().context(situation())["actions"] == ["buy", "hold"]
    assert agent().context(situation(position=POSITION))["actions"] == ["sell", "hold"]


@pytest.mark.parametrize(
    "change",
    [
        {"action": "sell"},
        {"size_percent": 0},
        {"size_percent": 101},
        {"confidence": 101},
        {"confidence": -1},
        {"stop_percent": 0},
        {"stop_percent": 11},
        {"rationale": "x" * 1000},
        {"rationale": "short"},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_answer_outside_the_schema_is_no_answer(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        flat(**change)


@pytest.mark.parametrize("answer_type", [FlatAnswer, HoldingAnswer])
def test_every_answer_can_be_bound_by_a_grammar_with_the_reasons_first(answer_type: type[BaseModel]) -> None:
    assert next(iter(schema_of(answer_type)["properties"])) == "rationale"


def test_a_buy_is_sized_from_the_free_quote_on_the_lot_grid() -> None:
    wish = agent(trade_fraction_max="0.20").wish(situation(), flat(size_percent=50))
    assert isinstance(wish, Wish)
    # 10,000 x 0.20 x 50 % = 1,000 at the ask of 100.05: 9.995... down to the lot
    assert (wish.side, wish.quantity, wish.reference_price) == (
        OrderSide.BUY,
        Decimal("9.995"),
        Decimal("100.05"),
    )


@given(
    st.decimals(Decimal(0), Decimal(10**7), places=2),
    st.decimals(Decimal("0.05"), Decimal(10**5), places=2),
    st.integers(1, 100),
    st.decimals(Decimal("0.01"), Decimal(1), places=2),
)
def test_no_buy_is_above_the_fraction_or_below_the_minimum(
    free: Decimal, ask: Decimal, percent: int, fraction: Decimal
) -> None:
    asked = situation(free_quote=free, ticker=replace(TICKER, bid=ask, ask=ask))
    wish = agent(trade_fraction_max=str(fraction)).wish(asked, flat(size_percent=percent))
    if isinstance(wish, Hold):
        least = max(MARKET.min_quantity * ask, MARKET.min_notional)
        assert free * fraction * percent / 100 < least + MARKET.lot_size * ask
        return
    assert wish.quantity * ask <= free * fraction * percent / 100
    assert wish.quantity % MARKET.lot_size == 0
    assert wish.quantity >= MARKET.min_quantity
    assert wish.quantity * ask >= MARKET.min_notional


def test_a_buy_below_the_exchanges_minimum_is_a_hold() -> None:
    poor = situation(free_quote=Decimal("40"))
    answer = agent(trade_fraction_max="0.20").wish(poor, flat(size_percent=50))
    assert answer == Hold(reason="buy of 4.00 USDT is below the exchange's minimum")


def test_the_stop_is_the_nearer_of_the_answers_and_the_settings() -> None:
    careful, bold = (
        agent(stop_loss="0.03").wish(situation(), flat(stop_percent=percent)) for percent in (2, 10)
    )
    assert isinstance(careful, Wish)
    assert isinstance(bold, Wish)
    assert careful.stop_price == Decimal("98.00")  # 98.049 down to the tick
    assert bold.stop_price == Decimal("97.00")  # 97.0485 down to the tick


def test_the_target_is_rounded_up_to_the_tick_and_may_be_left_out() -> None:
    aimed, open_ended = (agent(take_profit=target).wish(situation(), flat()) for target in ("0.04", None))
    assert isinstance(aimed, Wish)
    assert isinstance(open_ended, Wish)
    assert aimed.take_profit_price == Decimal("104.10")  # 104.052 up to the tick
    assert open_ended.take_profit_price is None


@pytest.mark.parametrize(("confidence", "kind"), [(54, Hold), (55, Wish)])
def test_below_the_confidence_floor_nothing_is_wished(confidence: int, kind: type) -> None:
    assert isinstance(agent(confidence_min=55).wish(situation(), flat(confidence=confidence)), kind)
    held = situation(position=POSITION)
    sale = HoldingAnswer(rationale="the move is exhausted", action="sell", confidence=confidence)
    assert isinstance(agent(confidence_min=55).wish(held, sale), kind)


def test_a_hold_is_a_hold_whatever_else_it_says() -> None:
    assert isinstance(agent().wish(situation(), flat(action="hold", confidence=100)), Hold)


def test_a_sale_is_of_all_that_can_be_sold() -> None:
    sale = HoldingAnswer(rationale="the move is exhausted", action="sell", confidence=90)
    wish = agent().wish(situation(position=POSITION), sale)
    assert isinstance(wish, Wish)
    assert (wish.side, wish.quantity, wish.close_reason) == (
        OrderSide.SELL,
        Decimal("1.998"),
        CloseReason.AGENT,
    )
    assert (wish.stop_price, wish.take_profit_price) == (None, None)
    dust = replace(POSITION, quantity=Decimal("0.0009"), sold_quantity=Decimal("1.9976"))
    assert agent().wish(situation(position=dust), sale) == Hold(reason="nothing left to sell")


def test_the_answer_of_another_question_is_refused() -> None:
    class Other(BaseModel):
        action: str = "buy"

    with pytest.raises(TypeError, match="Other"):
        agent().wish(situation(), Other())


def rendered(asked: Situation) -> str:
    revision = PromptRevision(
        id=UUID(int=1),
        prompt="trading",
        number=1,
        system=SYSTEM_PROMPT,
        template=USER_TEMPLATE,
        author="person",
        parent_id=None,
        sha256="",
    )
    return prompts.render(revision, agent().context(asked))[-1].content


def test_the_prompt_shows_the_figures_the_position_and_the_choice() -> None:
    text = rendered(situation(position=POSITION, facts=("bought and lost",)))
    assert "BTC/USDT, 1h candles, price 100." in text
    assert "trend: up\nRSI: 55\n" in text
    assert "Position: long, bought at 100.08, now -0.12%" in text
    assert "bought and lost" in text
    assert "sell or" in text.splitlines()[-1]
    assert "buy or" in rendered(situation()).splitlines()[-1]
    assert "What happened before" not in rendered(situation())


def test_agents_are_found_by_name() -> None:
    assert load_agent("trading", Settings(), AGENTS).name == "trading"
    with pytest.raises(ConfigError, match="known are rule, trading"):
        load_agent("tradnig", Settings(), AGENTS)
