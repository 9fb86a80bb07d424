"""ccxt's dictionaries as domain records. A figure that is missing raises ValueError: nothing is made up.

So does an answer that names another order or symbol than was asked for: it is another request's.

Shapes: https://docs.ccxt.com/#/README?id=exchange-structure (market, ticker, order book, order, trade).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import ccxt

from alina.domain.market import Balance, BookLevel, Candle, Market, OrderBook, Ticker
from alina.domain.orders import Fill, Order, OrderSide, OrderState, PlacedOrder
from alina.domain.records import utc_from_ms

Raw = Mapping[str, Any]


def exact(value: object, name: str) -> Decimal:
    """A Decimal from the exchange's text. Raises ValueError naming what is missing or no number.

    Where ccxt has already made a float, its shortest text is the number that was sent (to 15 digits).
    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{name} is {value!r}: no number") from None
    if not number.is_finite():
        raise ValueError(f"{name} is {value!r}: no finite number")
    return number


def market_from(raw: Raw, *, precision_mode: int) -> Market:
    """The rules of a spot market. Where a market order has tighter size limits, those count for all."""
    limits = raw["limits"]
    sizes = (limits["amount"], limits.get("market") or {})
    lot_size = _step_size(raw["precision"]["amount"], precision_mode, "the lot size")
    largest = [exact(size["max"], "max quantity") for size in sizes if size.get("max")]
    smallest = [exact(size["min"], "min quantity") for size in sizes if size.get("min")]
    return Market(
        symbol=raw["symbol"],
        base=raw["base"],
        quote=raw["quote"],
        tick_size=_step_size(raw["precision"]["price"], precision_mode, "the tick size"),
        lot_size=lot_size,
        min_quantity=max(smallest, default=lot_size),
        max_quantity=min((size for size in largest if size > 0), default=None),
        min_notional=exact(limits["cost"].get("min") or "0", "min notional"),
        maker_fee=exact(raw["maker"], "the maker fee"),
        taker_fee=exact(raw["taker"], "the taker fee"),
        trading=raw["active"] is not False,
    )


def _step_size(precision: object, mode: int, name: str) -> Decimal:
    if mode == ccxt.SIGNIFICANT_DIGITS:
        raise ValueError(f"{name} is given in significant digits, not as a fixed step")
    step = exact(precision, name)
    step = Decimal(1).scaleb(-int(step)) if mode == ccxt.DECIMAL_PLACES else step
    if step <= 0:
        raise ValueError(f"{name} is {step}: it must be above zero")
    return step


def candle_from(row: Sequence[Any], symbol: str, timeframe: str) -> Candle:
    prices = {
        name: exact(row[column], name) for column, name in enumerate(("open", "high", "low", "close"), 1)
    }
    return Candle(
        symbol=symbol,
        timeframe=timeframe,
        open_time=utc_from_ms(int(row[0])),
        volume=exact(row[5], "volume"),
        **prices,
    )


def ticker_from(raw: Raw, symbol: str, *, answered_at: datetime | None = None) -> Ticker:
    """`answered_at` is the time of the answer, for a ticker that names none."""
    _require(raw, "symbol", symbol)
    return Ticker(
        symbol=symbol,
        bid=exact(raw["bid"], "bid"),
        ask=exact(raw["ask"], "ask"),
        last=exact(raw["last"], "last"),
        as_of=answered_at or _time(raw["timestamp"], "the ticker's time"),
    )


def order_book_from(raw: Raw, symbol: str, *, as_of: datetime) -> OrderBook:
    """Sorted here: ccxt would sort prices that are text by their letters."""
    return OrderBook(
        symbol=symbol,
        bids=tuple(sorted(_levels(raw["bids"]), key=lambda level: level.price, reverse=True)),
        asks=tuple(sorted(_levels(raw["asks"]), key=lambda level: level.price)),
        as_of=as_of,
    )


def _levels(rows: Sequence[Sequence[Any]]) -> list[BookLevel]:
    return [BookLevel(exact(row[0], "price"), exact(row[1], "quantity")) for row in rows]


def balances_from(raw: Raw) -> dict[str, Balance]:
    """An asset whose free or locked part is not told is left out: unknown, so the kernel denies."""
    return {
        asset: Balance(asset=asset, free=exact(free, f"free {asset}"), locked=exact(used, f"locked {asset}"))
        for asset in raw["total"]
        if (free := raw["free"].get(asset)) is not None and (used := raw["used"].get(asset)) is not None
    }


def placed_order_from(raw: Raw, symbol: str) -> PlacedOrder:
    """The exchange's record of one order. An order it did not stamp is stamped with our clock."""
    _require(raw, "symbol", symbol)
    quantity = exact(raw["amount"], "amount")
    filled = exact(raw["filled"], "filled")
    return PlacedOrder(
        client_order_id=raw.get("clientOrderId") or "",
        exchange_order_id=_text(raw["id"], "the order's id"),
        symbol=symbol,
        side=OrderSide(raw["side"]),
        state=order_state(raw["status"], quantity=quantity, filled=filled),
        quantity=quantity,
        filled_quantity=filled,
        filled_notional=exact(raw["cost"], "cost") if filled else Decimal(0),
        updated_at=_updated_at(raw),
    )


def order_of_id_from(raw: Raw, symbol: str, client_order_id: str) -> PlacedOrder:
    """The answer to a question for one order, which must name it."""
    placed = placed_order_from(raw, symbol)
    if placed.client_order_id != client_order_id:
        raise ValueError(f"asked for order {client_order_id}, told of {placed.client_order_id!r}")
    return placed


def accepted_order_from(raw: Raw, order: Order) -> PlacedOrder:
    """The answer to a submit. Some exchanges answer with an id alone: it stands open, unfilled as yet."""
    _require(raw, "clientOrderId", order.client_order_id)
    _require(raw, "side", order.side.value)
    if raw.get("amount") is not None and exact(raw["amount"], "amount") != order.quantity:
        raise ValueError(f"sent a quantity of {order.quantity}, told of {raw['amount']}")
    if raw.get("status") is None:
        raw = {**raw, "status": "open", "side": order.side, "amount": order.quantity, "filled": "0"}
    return placed_order_from({**raw, "clientOrderId": order.client_order_id}, order.symbol)


def require_cancel_of(raw: Raw, symbol: str, client_order_id: str) -> None:
    """Raises ValueError where the answer to a cancel is another order's."""
    _require(raw, "symbol", symbol)
    # Binance gives the cancel an id of its own and names the order's beside it
    info = raw.get("info")
    original = info.get("origClientOrderId") if isinstance(info, Mapping) else None
    named = original or raw.get("clientOrderId")
    _require({"clientOrderId": named}, "clientOrderId", client_order_id)


def _require(raw: Raw, name: str, asked: str) -> None:
    """Raises ValueError where the answer names another one than was asked for; it may name none."""
    if raw.get(name) not in (None, "", asked):
        raise ValueError(f"asked for {name} {asked}, told of {raw[name]}")


_FINAL_STATES = {
    "canceled": OrderState.CANCELED,
    "rejected": OrderState.REJECTED,
    "expired": OrderState.EXPIRED,
}


def order_state(status: object, *, quantity: Decimal, filled: Decimal) -> OrderState:
    """ccxt's status and the filled part as one state. Raises ValueError where none is told.

    A word that ccxt passes on as it came, e.g. PENDING_NEW, does not say that the order is over.
    """
    match status:
        case "closed":  # done; some exchanges also call a cancelled rest so
            return OrderState.FILLED if filled >= quantity else OrderState.CANCELED
        case "canceled" | "rejected" | "expired":
            return _FINAL_STATES[status]
    _text(status, "the order's status")
    return OrderState.PARTIALLY_FILLED if filled else OrderState.OPEN


def fill_from(raw: Raw, symbol: str) -> Fill:
    _require(raw, "symbol", symbol)
    fee = _fee(raw)
    return Fill(
        trade_id=_text(raw["id"], "the trade's id"),
        exchange_order_id=_text(raw["order"], "the trade's order id"),
        symbol=symbol,
        side=OrderSide(raw["side"]),
        quantity=exact(raw["amount"], "amount"),
        price=exact(raw["price"], "price"),
        fee=exact(fee.get("cost"), "the trade's fee"),
        fee_asset=_text(fee.get("currency"), "the fee's asset"),
        is_maker=raw.get("takerOrMaker") == "maker",
        executed_at=_time(raw["timestamp"], "the trade's time"),
    )


def _fee(raw: Raw) -> Raw:
    fees = raw.get("fees") or [raw.get("fee") or {}]
    if len(fees) != 1:
        raise ValueError(f"trade {raw['id']} names {len(fees)} fees")
    fee: Raw = fees[0]
    return fee


def _updated_at(raw: Raw) -> datetime:
    stamps = (raw.get(name) for name in ("lastUpdateTimestamp", "lastTradeTimestamp", "timestamp"))
    return next((utc_from_ms(int(stamp)) for stamp in stamps if stamp), datetime.now(UTC))


def _time(stamp: object, name: str) -> datetime:
    return utc_from_ms(int(exact(stamp, name)))


def _text(value: object, name: str) -> str:
    if value is None or value == "":
        raise ValueError(f"{name} is missing")
    return str(value)
