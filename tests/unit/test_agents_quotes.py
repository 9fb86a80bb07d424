"""What a rationale quotes is found in what was told, or it is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.agents.quotes import other_symbols, texts_in, untold_figures
from alina.agents.trading import FlatAnswer, HoldingAnswer, TradingAgent
from alina.config import Settings

CONTEXT: dict[str, Any] = {
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "price": "96500.4",
    "figures": [["RSI (14)", "38"], ["ATR (14)", "0.567 % of the price"]],
    "closes": ["96480.1", "96500.4"],
    "position": "long, bought at 95000.00, now +1.58%",
    "facts": ["sold at 97123.5 after 20 hours"],
    "actions": ["sell", "hold"],
}
TOLD = list(texts_in(CONTEXT))


@pytest.mark.parametrize(
    "text",
    [
        "RSI 38 is low",
        "the price of 96,500 is fair",
        "the price of 96500.4 is fair",
        "ATR 0.57 is small, or 0.56, or 0.6",
        "up 1.58% since 95000",
        "the last 3 candles rose, wait 2-3 more",
        "we sold at 97123.5 before",
        "RSI(14) says little",
        "no figure at all",
    ],
)
def test_figures_that_were_told_may_be_quoted_rounded_too(text: str) -> None:
    assert untold_figures(text, TOLD) == []


@pytest.mark.parametrize(
    ("text", "untold"),
    [
        ("RSI 58 is moderate", ["58"]),
        ("the price of 96,600 is fair", ["96,600"]),
        ("ATR 0.55 is small", ["0.55"]),
        ("a target of 99000.5, then 120", ["99000.5", "120"]),
        ("RSI 38.5 is low", ["38.5"]),
    ],
)
def test_figures_that_nobody_told_are_named(text: str, untold: list[str]) -> None:
    assert untold_figures(text, TOLD) == untold


@given(st.text(max_size=200))
def test_any_text_is_looked_at_without_an_error(text: str) -> None:
    untold_figures(text, [text, *TOLD])
    other_symbols(text, "BTC/USDT")


def test_a_number_of_any_length_is_only_a_number() -> None:
    long = "9" * 60
    assert untold_figures(f"{long} and 0.{long}", ["1", long]) == [f"0.{long}"]


def test_another_symbol_is_named() -> None:
    assert other_symbols("ETH/USDT leads BTC/USDT", "BTC/USDT") == ["ETH/USDT"]


def answer(rationale: str) -> FlatAnswer:
    told = {"action": "buy", "size_percent": 60, "confidence": 72, "stop_percent": 2}
    return FlatAnswer.model_validate({"rationale": rationale, **told})


def test_an_agent_refuses_an_answer_that_rests_on_what_nobody_told() -> None:
    agent = TradingAgent(Settings())
    agent.check(CONTEXT, answer("RSI 38, so buy with 60 percent"))
    agent.check(CONTEXT, HoldingAnswer(rationale="RSI 38 is low", action="hold", confidence=70))
    with pytest.raises(ValueError, match="quotes 58, which nobody told"):
        agent.check(CONTEXT, answer("The trend is up and RSI 58 is moderate"))
    with pytest.raises(ValueError, match="ETH/USDT"):
        agent.check(CONTEXT, answer("ETH/USDT is rising, so buy"))


def test_whoever_wants_it_so_lets_the_model_quote_freely() -> None:
    settings = Settings.model_validate({"trading": {"check_rationale": False}})
    TradingAgent(settings).check(CONTEXT, answer("The trend is up and RSI 58 is moderate"))
