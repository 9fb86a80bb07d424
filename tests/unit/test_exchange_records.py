from datetime import UTC, datetime
from decimal import Decimal

import ccxt
import pytest

from alina.domain.orders import Order, OrderSide, OrderState, OrderType
from alina.errors import InvalidRecord
from alina.exchange import records

NOW_MS = 1_700_000_000_123
NOW = datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)

MARKET = {
    "symbol": "BTC/USDT",
    "base": "BTC",
    "quote": "USDT",
    "active": True,
    "maker": "0.001",
    "taker": 0.0015,
    "precision": {"amount": "0.00001", "price": "0.01"},
    "limits": {"amount": {"min": "0.00002", "max": "9000"}, "cost": {"min": "5", "max": None}},
}
ORDER = {
    "id": "7",
    "clientOrderId": "al-1",
    "side": "buy",
    "status": "open",
    "amount": "2",
    "filled": "0",
    "cost": "0",
    "lastUpdateTimestamp": NOW_MS,
}
TRADE = {
    "id": "9",
    "order": "7",
    "side": "sell",
    "amount": "0.1",
    "price": "30000.10",
    "fee": {"cost": "3.00001", "currency": "USDT"},
    "takerOrMaker": "maker",
    "timestamp": NOW_MS,
}


def test_a_market_keeps_the_exchanges_digits():
    market = records.market_from(MARKET, precision_mode=ccxt.TICK_SIZE)
    assert (market.tick_size, market.lot_size) == (Decimal("0.01"), Decimal("0.00001"))
    assert (market.min_quantity, market.max_quantity) == (Decimal("0.00002"), Decimal("9000"))
    assert (market.min_notional, market.maker_fee, market.taker_fee) == (
        Decimal(5),
        Decimal("0.001"),
        Decimal("0.0015"),
    )
    assert market.trading


def test_decimal_places_become_a_step():
    raw = {**MARKET, "precision": {"amount": "3", "price": 0}}
    market = records.market_from(raw, precision_mode=ccxt.DECIMAL_PLACES)
    assert (market.lot_size, market.tick_size) == (Decimal("0.001"), Decimal(1))


def test_a_market_without_a_fixed_step_is_refused():
    with pytest.raises(ValueError, match="significant digits"):
        records.market_from(MARKET, precision_mode=ccxt.SIGNIFICANT_DIGITS)
    raw = {**MARKET, "precision": {"amount": "1", "price": None}}
    with pytest.raises(ValueError, match="tick size"):
        records.market_from(raw, precision_mode=ccxt.TICK_SIZE)


def test_the_tighter_size_limits_of_market_orders_count():
    limits = {**MARKET["limits"], "market": {"min": "0.00000000", "max": "120.5"}}
    market = records.market_from({**MARKET, "limits": limits}, precision_mode=ccxt.TICK_SIZE)
    assert (market.min_quantity, market.max_quantity) == (Decimal("0.00002"), Decimal("120.5"))


def test_a_market_that_states_no_size_limits_trades_from_one_lot_on():
    limits = {"amount": {"min": None, "max": None}, "cost": {"min": None}}
    market = records.market_from({**MARKET, "limits": limits}, precision_mode=ccxt.TICK_SIZE)
    assert (market.min_quantity, market.max_quantity, market.min_notional) == (Decimal("0.00001"), None, 0)


def test_a_market_in_a_break_does_not_trade():
    market = records.market_from({**MARKET, "active": False}, precision_mode=ccxt.TICK_SIZE)
    assert not market.trading


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("open", "0", OrderState.OPEN),
        ("open", "0.00", OrderState.OPEN),
        ("open", "1", OrderState.PARTIALLY_FILLED),
        ("canceling", "1", OrderState.PARTIALLY_FILLED),
        ("closed", "2", OrderState.FILLED),
        ("closed", "1.5", OrderState.CANCELED),
        ("canceled", "0", OrderState.CANCELED),
        ("canceled", "1", OrderState.CANCELED),
        ("rejected", "0", OrderState.REJECTED),
        ("expired", "1", OrderState.EXPIRED),
        ("PENDING_NEW", "0", OrderState.OPEN),
        ("A_NEW_WORD", "1", OrderState.PARTIALLY_FILLED),
    ],
)
def test_status_and_filled_part_become_one_state(status: str, filled: str, state: OrderState):
    placed = records.placed_order_from({**ORDER, "status": status, "filled": filled, "cost": "5"}, "BTC/USDT")
    assert placed.state is state
    assert placed.filled_quantity == Decimal(filled)
    assert placed.updated_at == NOW


@pytest.mark.parametrize("field", ["id", "status", "amount", "filled", "side"])
def test_an_order_with_a_missing_fact_is_no_evidence(field: str):
    with pytest.raises((ValueError, KeyError)):
        records.placed_order_from({**ORDER, field: None}, "BTC/USDT")


def an_order() -> Order:
    return Order(
        client_order_id="al-2",
        account="main",
        symbol="BTC/USDT",
        side=OrderSide.SELL,
        order_type=OrderType.MARKET,
        quantity=Decimal("0.5"),
    )


def test_an_answer_with_an_id_alone_is_an_open_order():
    answer = {"id": "77", "status": None, "side": None, "amount": None, "filled": None, "timestamp": NOW_MS}
    placed = records.accepted_order_from(answer, an_order())
    assert (placed.exchange_order_id, placed.client_order_id) == ("77", "al-2")
    assert (placed.state, placed.filled_quantity) == (OrderState.OPEN, 0)
    assert (placed.side, placed.quantity) == (OrderSide.SELL, Decimal("0.5"))


def test_an_answer_without_an_id_is_no_evidence():
    with pytest.raises(ValueError, match="id is missing"):
        records.accepted_order_from({"id": None, "status": None}, an_order())


def test_a_fill_is_exact():
    fill = records.fill_from(TRADE, "BTC/USDT")
    assert (fill.trade_id, fill.exchange_order_id, fill.side) == ("9", "7", OrderSide.SELL)
    assert fill.notional == Decimal("3000.010")
    assert (fill.fee, fill.fee_asset, fill.is_maker) == (Decimal("3.00001"), "USDT", True)
    assert fill.executed_at == NOW


def test_the_fee_is_also_read_from_a_list_of_one():
    fill = records.fill_from({**TRADE, "fee": None, "fees": [{"cost": "1", "currency": "BNB"}]}, "BTC/USDT")
    assert (fill.fee, fill.fee_asset) == (1, "BNB")


@pytest.mark.parametrize(
    "change",
    [
        {"fee": None},
        {"fee": {"cost": None, "currency": None}},
        {"fees": [{"cost": "1", "currency": "BNB"}, {"cost": "1", "currency": "BTC"}]},
        {"timestamp": None},
        {"id": None},
    ],
)
def test_a_trade_with_a_missing_fact_is_no_evidence(change: dict):
    with pytest.raises(ValueError, match=r"fee|time|id"):
        records.fill_from({**TRADE, **change}, "BTC/USDT")


def test_prices_that_are_text_are_sorted_by_value():
    raw = {"bids": [["9.99", "1"], ["10.00", "2"]], "asks": [["9.5", "1"], ["11.00", "1"], ["10.5", "3"]]}
    book = records.order_book_from(raw, "BTC/USDT", as_of=NOW)
    assert [level.price for level in book.bids] == [Decimal("10.00"), Decimal("9.99")]
    assert [level.price for level in book.asks] == [Decimal("9.5"), Decimal("10.5"), Decimal("11.00")]


@pytest.mark.parametrize("missing", ["bid", "ask", "last", "timestamp"])
def test_a_ticker_without_a_price_or_a_time_is_refused(missing: str):
    raw = {"bid": "1", "ask": "2", "last": "1.5", "timestamp": NOW_MS}
    assert records.ticker_from(raw, "BTC/USDT").as_of == NOW
    with pytest.raises(ValueError, match="is None"):
        records.ticker_from({**raw, missing: None}, "BTC/USDT")


def test_an_asset_whose_locked_part_is_unknown_is_left_out():
    raw = {
        "total": {"BTC": "3", "XYZ": "1"},
        "free": {"BTC": "2", "XYZ": "1"},
        "used": {"BTC": "1", "XYZ": None},
    }
    balances = records.balances_from(raw)
    assert balances.keys() == {"BTC"}
    assert balances["BTC"].total == 3


@pytest.mark.parametrize("text", ["NaN", "Infinity", "", "1,5", None])
def test_only_finite_numbers_are_numbers(text: object):
    with pytest.raises(ValueError, match="price is"):
        records.exact(text, "price")


def test_an_impossible_candle_is_refused():
    with pytest.raises(InvalidRecord):
        records.candle_from([NOW_MS, "2", "1", "3", "2", "0"], "BTC/USDT", "1h")
