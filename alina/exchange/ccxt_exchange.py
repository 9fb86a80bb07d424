"""Any ccxt spot exchange as the Exchange port.

One client belongs to one process and one thread: build it after a fork, close it at the end.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import ccxt

from alina.domain.market import Balances, Candle, Market, OrderBook, Ticker
from alina.domain.orders import Fill, Order, OrderSide, OrderType, PlacedOrder
from alina.domain.records import ms_from_utc
from alina.errors import ExchangeRefused, ExchangeUnavailable, OrderFateUnknown, OrderRejected
from alina.exchange import own_trades, records
from alina.exchange.budget import Budget, urgent
from alina.exchange.client import Client
from alina.exchange.errors import UNREADABLE, submit_error
from alina.exchange.options import client_options
from alina.exchange.traits import Finding, traits_of

_STOP_LIMIT = "STOP_LOSS_LIMIT"


class CcxtExchange:
    """The Exchange port over one ccxt exchange, e.g. `binance`. Sends each request once.

    Without keys the public market data still answers; what needs a key is refused. `options` are
    merged deeply into ccxt's constructor. `budget` makes, of the cost a minute that the exchange takes, what
    each request asks first; without it ccxt paces this client alone. Raises ConfigError for an id that
    ccxt does not know.
    """

    def __init__(
        self,
        exchange_id: str,
        *,
        api_key: str | None,
        secret: str | None,
        options: Mapping[str, Any],
        timeout: timedelta,
        budget: Callable[[Decimal], Budget] | None = None,
    ) -> None:
        self._id, self._traits = exchange_id, traits_of(exchange_id)
        self._client = Client(
            exchange_id,
            client_options(exchange_id, api_key=api_key, secret=secret, options=options, timeout=timeout),
            budget,
        )
        self._api = self._client.api

    def close(self) -> None:
        """Give the connections back."""
        self._api.close()

    def market(self, symbol: str) -> Market:
        """The rules of a symbol, at most an hour old. Raises ExchangeRefused for one it does not list."""
        raw = self._client.market(symbol)
        if not raw["spot"]:
            raise ExchangeRefused(f"{self._id}: {symbol} is no spot market; name one such as BTC/USDT")
        try:
            return records.market_from(raw, precision_mode=self._api.precisionMode)
        except UNREADABLE as error:
            raise ExchangeRefused(f"{self._id} does not say how {symbol} is traded: {error}") from error

    def markets(self) -> list[Market]:
        """Every spot market that says how it is traded, by symbol."""
        self._client.load_markets()
        told = []
        for symbol in sorted(symbol for symbol, raw in self._api.markets.items() if raw["spot"]):
            with suppress(ExchangeRefused):  # of rules that cannot be read: none that could be traded
                told.append(self.market(symbol))
        return told

    def candles(self, symbol: str, timeframe: str, *, since: datetime, limit: int) -> list[Candle]:
        """Up to `limit` candles from `since` on, oldest first; the last one may still be forming."""
        if timeframe not in self._api.timeframes:
            known = ", ".join(self._api.timeframes)
            raise ExchangeRefused(
                f"{self._id} has no {timeframe} candles: set market.timeframe to one of {known}"
            )
        self.market(symbol)
        start = ms_from_utc(since)

        def fetch() -> list[Candle]:
            rows = self._api.fetch_ohlcv(symbol, timeframe, since=start, limit=limit)
            candles = [records.candle_from(row, symbol, timeframe) for row in rows if row[0] >= start]
            return sorted(candles, key=lambda candle: candle.open_time)[:limit]

        return self._client.read(fetch)

    def ticker(self, symbol: str) -> Ticker:
        """Best and last prices with the exchange's own time; without one it is ExchangeUnavailable.

        Where the ticker names none, it is the time of the exchange's answer.
        """
        self.market(symbol)

        def fetch() -> Ticker:
            raw = self._api.fetch_ticker(symbol)
            answered_at = None if raw.get("timestamp") else self._client.answered_at()
            return records.ticker_from(raw, symbol, answered_at=answered_at)

        return self._client.read(fetch)

    def order_book(self, symbol: str, *, depth: int) -> OrderBook:
        """The best `depth` levels of each side.

        Spot books often name no time. The ticker asked just before does, and the book is not older.
        """
        as_of = self.ticker(symbol).as_of

        def fetch() -> OrderBook:
            raw = self._api.fetch_order_book(symbol, self._traits.book_levels or depth)
            book = records.order_book_from(raw, symbol, as_of=as_of)
            return replace(book, bids=book.bids[:depth], asks=book.asks[:depth])

        return self._client.read(fetch)

    def balances(self) -> Balances:
        """What the account holds of each asset that the exchange names."""
        self._client.need_keys()
        self._client.load_markets()
        return self._client.read(lambda: records.balances_from(self._api.fetch_balance()))

    def submit(self, order: Order, *, signed_at: datetime | None = None) -> PlacedOrder:
        """Send the order once, exactly as it is. Raises only OrderRejected or OrderFateUnknown."""
        name = order.client_order_id
        try:
            self._prepare(order)
        except ExchangeUnavailable as error:
            raise OrderFateUnknown(f"order {name} was not sent: {error}") from error
        except ExchangeRefused as error:
            raise OrderRejected(f"order {name} was not sent: {error}") from error
        except ccxt.BaseError as error:
            raise submit_error(error, self._id, name) from error
        try:
            answer = self._api.create_order(
                order.symbol,
                "market" if order.limit_price is None else "limit",
                order.side.value,
                f"{order.quantity:f}",
                None if order.limit_price is None else f"{order.limit_price:f}",
                {"clientOrderId": self._traits.spelled(name), **_trigger(order), **self._signed(signed_at)},
            )
            self._client.need_json()
            return records.accepted_order_from(self._read(answer), order)
        except Exception as error:  # whatever it is, the request may have arrived
            raise submit_error(error, self._id, name) from error

    def _prepare(self, order: Order) -> None:
        """All that must hold before the request leaves; the last is its place in the account's budget."""
        market = self.market(order.symbol)
        self._client.need_keys()
        if order.order_type is OrderType.STOP_LIMIT and not self.has_stop_orders(order.symbol):
            raise ExchangeRefused(f"{self._id} takes no stop order in {order.symbol} that could be followed")
        if self._traits.buys_by_cost and (order.side, order.order_type) == (OrderSide.BUY, OrderType.MARKET):
            raise ExchangeRefused(
                f"{self._id} takes a market buy by its cost: it would read {order.quantity} {market.base} "
                f"as {market.quote} to spend; buy at a limit price"
            )
        self._refuse_rounding(order, market)
        _refuse_dust(order, market)
        self._client.take_order()

    def find(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        """The exchange's own record of an order, open or past; None: it says there is none.

        A request still on its way is not there yet: None is final only after the exchange's receive
        window (Binance: 10 s) has passed since the submit.
        """
        with urgent():
            return self._find(symbol, client_order_id)

    def _find(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        self._client.need_keys()
        self.market(symbol)
        match self._traits.finding:
            case Finding.BY_ORDER:
                return self._ask(symbol, client_order_id)
            case Finding.BY_NARROWED_LISTS:
                return self._ask_lists(symbol, client_order_id)
            case Finding.BY_SEARCH:
                return self._search(symbol, client_order_id)

    def _ask(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        name = self._traits.spelled(client_order_id)
        try:
            return self._client.read(
                lambda: records.order_of_id_from(
                    self._read(self._api.fetch_order_with_client_order_id(name, symbol)),
                    symbol,
                    client_order_id,
                )
            )
        except ExchangeRefused as error:
            if isinstance(error.__cause__, ccxt.OrderNotFound):
                return None
            raise

    def _ask_lists(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        """The open ones first: what is closed in between is then found among the closed."""
        narrowed = {"clientOrderId": self._traits.spelled(client_order_id)}
        for listing in (self._api.fetch_open_orders, self._api.fetch_closed_orders):
            raws = self._client.read(partial(listing, symbol, params=narrowed))
            for raw in raws:
                return self._client.read(
                    partial(records.order_of_id_from, self._read(raw), symbol, client_order_id)
                )
        return None

    def _read(self, raw: records.Raw) -> records.Raw:
        """ccxt's record of an order with the client order id as we spell it; of Bitvavo's it lacks."""
        info = raw.get("info")
        told = raw.get("clientOrderId") or (isinstance(info, dict) and info.get("clientOrderId")) or ""
        return {**raw, "clientOrderId": self._traits.read(told)}

    def cancel(self, symbol: str, client_order_id: str, *, exchange_order_id: str | None = None) -> bool:
        """Whether the exchange cancelled the order now; False: it has no such open order (yet).

        Where ccxt can, it is cancelled by its client order id: queries may not show it yet.
        """
        with urgent():
            self._client.need_keys()
            self.market(symbol)
            try:
                return self._client.read(lambda: self._cancel(symbol, client_order_id, exchange_order_id))
            except ExchangeRefused as error:
                if isinstance(error.__cause__, ccxt.OrderNotFound):
                    return False
                raise

    def _cancel(self, symbol: str, client_order_id: str, exchange_order_id: str | None) -> bool:
        if not client_order_id and exchange_order_id is not None:
            self._api.cancel_order(exchange_order_id, symbol)
            return True
        if self._traits.finding is not Finding.BY_SEARCH:
            name = self._traits.spelled(client_order_id)
            answer = self._api.cancel_order_with_client_order_id(name, symbol)
            records.require_cancel_of(self._read(answer), symbol, client_order_id)
            return True
        placed = self._search(symbol, client_order_id)
        if not placed.state.is_final:
            self._api.cancel_order(placed.exchange_order_id, symbol)
        return not placed.state.is_final

    def has_stop_orders(self, symbol: str) -> bool:
        """Whether stop orders are taken, and are found and cancelled like any other."""
        if not self._traits.lists_stops_with_orders:
            return False
        told = self._client.market(symbol)["info"].get("orderTypes")
        return told is None or _STOP_LIMIT in told

    def open_orders(self, symbol: str) -> list[PlacedOrder]:
        """Every open order of the account in this symbol, ours or not."""
        self._client.need_keys()
        self.market(symbol)
        return self._client.read(
            lambda: [
                records.placed_order_from(self._read(raw), symbol)
                for raw in self._client.complete(self._api.fetch_open_orders(symbol))
            ]
        )

    def fills(self, symbol: str, *, exchange_order_id: str | None = None) -> list[Fill]:
        """Own trades of a symbol, oldest first: the newest page at most, or all of one order if named."""
        self._client.need_keys()
        self.market(symbol)

        def fetch() -> list[Fill]:
            answers: Iterable[list[records.Raw]] = (
                [own_trades.newest(self._api, self._traits, symbol)]
                if exchange_order_id is None
                else own_trades.of_order(self._api, self._traits, symbol, exchange_order_id)
            )
            fills = [
                records.fill_from(raw, symbol) for raws in answers for raw in self._client.complete(raws)
            ]
            wanted = [fill for fill in fills if exchange_order_id in (None, fill.exchange_order_id)]
            by_order = exchange_order_id is not None and self._api.has["fetchOrderTrades"] is True
            if by_order and len(wanted) < len(fills):
                raise ValueError(f"trades of other orders came for {exchange_order_id}")
            return sorted(wanted, key=lambda fill: fill.executed_at)

        return self._client.read(fetch)

    def clock_difference_ms(self) -> int:
        """The exchange's clock minus ours, in milliseconds, taken at the middle of the round trip."""
        asked_at = time.time_ns()
        theirs = self._client.read(lambda: int(self._api.fetch_time()))
        return theirs - (asked_at + time.time_ns()) // 2_000_000

    def _search(self, symbol: str, client_order_id: str) -> PlacedOrder:
        """Look through the lists of an exchange that cannot be asked by client order id."""
        for listing in ("fetchOpenOrders", "fetchOrders", "fetchClosedOrders", "fetchCanceledOrders"):
            if self._api.has[listing] is not True:
                continue
            found = self._client.read(partial(self._look_in, listing, symbol, client_order_id))
            if found is not None:
                return found
        raise ExchangeUnavailable(
            f"{self._id} cannot be asked by client order id and its lists do not show {client_order_id}, "
            "which proves nothing: look at the account's order history on the exchange"
        )

    def _look_in(self, listing: str, symbol: str, client_order_id: str) -> PlacedOrder | None:
        raws = getattr(self._api, listing)(symbol)
        ours = (raw for raw in map(self._read, raws) if raw["clientOrderId"] == client_order_id)
        return next((records.placed_order_from(raw, symbol) for raw in ours), None)

    def _signed(self, signed_at: datetime | None) -> dict[str, int]:
        """The time stamp of a request, in ccxt's idea of the exchange's time."""
        if signed_at is None or not self._traits.has_receive_window:
            return {}
        return {"timestamp": self._api.nonce() - max(0, time.time_ns() // 1_000_000 - ms_from_utc(signed_at))}

    def _refuse_rounding(self, order: Order, market: Market) -> None:
        """ccxt truncates quantities and rounds prices without a word: send only what it would not change."""
        sent = self._api.amount_to_precision(order.symbol, f"{order.quantity:f}")
        if Decimal(sent) != order.quantity:
            raise OrderRejected(
                f"order {order.client_order_id} was not sent: quantity {order.quantity} is off the lot size "
                f"{market.lot_size} of {order.symbol}; {sent} is on it"
            )
        prices = {"price": order.limit_price, "trigger price": order.trigger_price}
        for name, price in prices.items():
            if price is None:
                continue
            rounded = self._api.price_to_precision(order.symbol, f"{price:f}")
            if Decimal(rounded) != price:
                raise OrderRejected(
                    f"order {order.client_order_id} was not sent: {name} {price} is off the tick size "
                    f"{market.tick_size} of {order.symbol}; {rounded} is on it"
                )


def _refuse_dust(order: Order, market: Market) -> None:
    """A market order's notional is the exchange's to judge, and the kernel's: no price is known here."""
    if order.limit_price is not None and order.quantity * order.limit_price < market.min_notional:
        raise OrderRejected(
            f"order {order.client_order_id} was not sent: {order.quantity} at {order.limit_price} is less "
            f"than the smallest notional of {order.symbol}, {market.min_notional} {market.quote}"
        )


def _trigger(order: Order) -> dict[str, str]:
    """ccxt's word for the price at which a stop that limits a loss becomes an order."""
    return {} if order.trigger_price is None else {"stopLossPrice": f"{order.trigger_price:f}"}
