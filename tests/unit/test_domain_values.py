"""What records refuse, and the arithmetic of markets and positions."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.domain.decisions import Proposal
from alina.domain.evaluation import Evaluation
from alina.domain.market import Balance, Candle, Market, MarketView, Ticker, candle_number, timeframe_duration
from alina.domain.orders import Fill, Order, OrderSide, OrderState, OrderType, client_order_id_for
from alina.domain.portfolio import CloseReason, Equity, Position
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.domain.runs import RunResult, RunState
from alina.errors import InvalidRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE = Decimal(1)
TICKER = Ticker(symbol="BTC/USDT", bid=ONE, ask=ONE, last=ONE, as_of=NOON)


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")]
)
def test_money_that_is_not_an_exact_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidRecord, match=r"Ticker\.bid"):
        replace(TICKER, bid=value)
    with pytest.raises(InvalidRecord, match=r"Balance\.free"):
        Balance(asset="USDT", free=value, locked=ONE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "moment", [NOON.replace(tzinfo=None), NOON.astimezone(timezone(HOUR)), NOON.astimezone(timezone(-HOUR))]
)
def test_a_time_that_is_not_aware_utc_is_refused(moment: datetime) -> None:
    with pytest.raises(InvalidRecord, match="aware UTC"):
        replace(TICKER, as_of=moment)


def test_records_never_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TICKER.bid = Decimal(2)  # type: ignore[misc]


@given(st.integers(0, 4_102_444_800_000))
def test_milliseconds_and_times_are_each_others_inverse(milliseconds: int) -> None:
    assert ms_from_utc(utc_from_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "length"), [("5m", HOUR / 12), ("1h", HOUR), ("4h", 4 * HOUR), ("1d", 24 * HOUR)]
)
def test_timeframes_have_lengths(text: str, length: timedelta) -> None:
    assert timeframe_duration(text) == length
    assert candle_number(NOON + length, text) == candle_number(NOON, text) + 1


@pytest.mark.parametrize("text", ["", "h", "0h", "1x", "-1h", "1 h", "99999h"])
def test_an_unknown_timeframe_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecord, match="timeframe"):
        timeframe_duration(text)


def candle(**changes: object) -> Candle:
    values: dict[str, object] = {
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "open_time": NOON,
        "open": Decimal(10),
        "high": Decimal(12),
        "low": Decimal(9),
        "close": Decimal(11),
        "volume": ONE,
    }
    return Candle(**values | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"low": Decimal(0)}, {"low": Decimal("10.5")}, {"high": Decimal("10.5")}, {"volume": Decimal(-1)}],
    ids=str,
)
def test_an_impossible_candle_is_refused(change: dict[str, Decimal]) -> None:
    with pytest.raises(InvalidRecord, match="impossible candle"):
        candle(**change)


def test_a_view_with_a_candle_that_is_not_closed_is_look_ahead() -> None:
    values = {"symbol": "BTC/USDT", "timeframe": "1h", "candles": (candle(),)}
    assert MarketView(as_of=NOON + HOUR, **values).candles
    with pytest.raises(InvalidRecord, match="look-ahead"):
        MarketView(as_of=NOON + HOUR - timedelta(microseconds=1), **values)


MARKET = Market(
    symbol="BTC/USDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.05"),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    max_quantity=None,
    min_notional=Decimal(5),
    maker_fee=Decimal(0),
    taker_fee=Decimal(0),
)


@given(st.decimals(Decimal("0.0001"), Decimal(1000), places=7))
def test_quantities_are_rounded_down_to_the_lot_and_prices_in_the_traders_favour(value: Decimal) -> None:
    quantity = MARKET.quantity_down(value)
    assert quantity % MARKET.lot_size == 0
    assert 0 <= value - quantity < MARKET.lot_size
    limited = replace(MARKET, max_quantity=Decimal("0.0505"))
    assert limited.quantity_down(value) == min(quantity, Decimal("0.05"))
    bid, offer = MARKET.price_for(value, is_buy=True), MARKET.price_for(value, is_buy=False)
    assert bid % MARKET.tick_size == offer % MARKET.tick_size == 0
    assert bid <= value <= offer < bid + 2 * MARKET.tick_size


def test_an_order_has_a_limit_price_exactly_if_it_is_a_limit_order() -> None:
    order = Order(
        client_order_id="a",
        account="main",
        symbol="BTC/USDT",
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        quantity=ONE,
    )
    with pytest.raises(InvalidRecord, match="limit"):
        replace(order, limit_price=ONE)
    with pytest.raises(InvalidRecord, match="limit"):
        replace(order, order_type=OrderType.LIMIT)
    for nothing in (Decimal(0), Decimal(-1)):
        with pytest.raises(InvalidRecord, match="not above 0"):
            replace(order, quantity=nothing)


def test_a_proposal_refuses_what_no_proposer_may_say() -> None:
    wish = Proposal(
        id=UUID(int=1),
        run_id=None,
        account="main",
        agent="trading",
        symbol="BTC/USDT",
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        quantity=ONE,
        limit_price=None,
        reference_price=ONE,
        reduce_only=False,
        close_reason=None,
        stop_price=None,
        take_profit_price=None,
        close_after=None,
        confidence=100,
        rationale="",
        as_of=NOON,
        expires_at=NOON,
    )
    for change in ({"quantity": Decimal(0)}, {"limit_price": ONE}, {"confidence": 101}, {"confidence": -1}):
        with pytest.raises(InvalidRecord):
            replace(wish, **change)  # type: ignore[arg-type]


def test_an_order_is_named_after_its_decision() -> None:
    name = client_order_id_for(UUID(int=2**127 + 5))
    assert (len(name), name.isalnum()) == (32, True)
    assert name != client_order_id_for(UUID(int=2**127 + 2**20))


def test_final_states_are_those_that_never_change_again() -> None:
    assert {state for state in OrderState if state.is_final} == {
        OrderState.FILLED,
        OrderState.CANCELED,
        OrderState.REJECTED,
        OrderState.EXPIRED,
    }


def test_a_position_knows_its_average_price_and_its_result_once_closed() -> None:
    position = Position(
        id=UUID(int=1),
        account="main",
        symbol="BTC/USDT",
        quantity=Decimal(2),
        bought_quantity=Decimal(4),
        sold_quantity=Decimal(2),
        cost=Decimal(401),
        proceeds=Decimal(220),
        opened_at=NOON,
    )
    assert (position.average_price, position.realised_pnl) == (Decimal("100.25"), 0)
    closed = replace(position, closed_at=NOON, close_reason=CloseReason.AGENT)
    assert closed.realised_pnl == -181


def test_sums_of_records() -> None:
    assert Balance(asset="USDT", free=Decimal("1.1"), locked=Decimal("2.2")).total == Decimal("3.3")
    assert Equity(account="main", as_of=NOON, cash=ONE, holdings=Decimal(2)).total == 3
    fill = Fill(
        trade_id="1",
        exchange_order_id="2",
        symbol="BTC/USDT",
        side=OrderSide.BUY,
        quantity=Decimal("0.3"),
        price=Decimal("10.1"),
        fee=Decimal(0),
        fee_asset="BTC",
        is_maker=False,
        executed_at=NOON,
    )
    assert fill.notional == Decimal("3.03")


def test_a_score_outside_zero_to_one_is_refused() -> None:
    values = {
        "position_id": UUID(int=1),
        "run_id": None,
        "pnl": ONE,
        "return_fraction": ONE,
        "explanation": "",
        "evaluated_at": NOON,
    }
    for score in (Decimal("-0.0001"), Decimal("1.0001")):
        with pytest.raises(InvalidRecord, match="score"):
            Evaluation(score=score, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("proposal_id", [None, UUID(int=9)])
def test_a_run_result_survives_a_message(proposal_id: UUID | None) -> None:
    result = RunResult(
        run_id=UUID(int=1),
        agent="trading",
        symbol="BTC/USDT",
        as_of=NOON,
        state=RunState.HELD,
        summary="hold",
        proposal_id=proposal_id,
    )
    assert RunResult.from_json(result.to_json()) == result
