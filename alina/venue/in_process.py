"""The venue inside this process: the Exchange port without HTTP, disk or wall clock.

The markets, the engine and the order of matching are the served venue's own, so that a backtest meets the
same prices, fills and fees as paper trading does. An order that is submitted at the close of a candle
trades at the next candle's open at best: that is the price from this moment on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from alina.domain.market import Balance, Balances, Candle, Market, OrderBook, Ticker
from alina.domain.orders import Fill, Order, OrderSide, OrderState, OrderType, PlacedOrder
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.errors import ExchangeRefused, OrderFateUnknown, OrderRejected
from alina.venue.candles_csv import INTERVALS
from alina.venue.crossing import Crossing
from alina.venue.engine import Engine
from alina.venue.fees import Fees
from alina.venue.filters import MAX_QUANTITY, Rules
from alina.venue.markets import ListedMarket
from alina.venue.orders import Kind, OrderRequest, Side, Status, VenueFill, VenueOrder
from alina.venue.refusal import Refusal, order_refused

_KINDS = {
    OrderType.MARKET: Kind.MARKET,
    OrderType.LIMIT: Kind.LIMIT,
    OrderType.STOP_LIMIT: Kind.STOP_LOSS_LIMIT,
}
_SIDES = {OrderSide.BUY: Side.BUY, OrderSide.SELL: Side.SELL}
_ORDER_SIDES = {side: order_side for order_side, side in _SIDES.items()}
_STATES = {
    Status.NEW: OrderState.OPEN,
    Status.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    Status.FILLED: OrderState.FILLED,
    Status.CANCELED: OrderState.CANCELED,
    Status.EXPIRED: OrderState.EXPIRED,
}
#: the newest trades of a symbol that are told at once
_PAGE = 500


class InProcessExchange:
    """One account on replayed markets, and the clock of both. Nothing moves but by `advance`.

    `balances`: free amounts by asset. Not thread-safe.
    """

    def __init__(
        self,
        markets: Iterable[ListedMarket],
        *,
        balances: Mapping[str, Decimal],
        fees: Fees,
        now: datetime,
    ) -> None:
        self._markets = {f"{one.rules.base}/{one.rules.quote}": one for one in markets}
        self._by_id = {one.rules.symbol: symbol for symbol, one in self._markets.items()}
        rules = [one.rules for one in self._markets.values()]
        assets = {asset for one in rules for asset in (one.base, one.quote)} | set(balances)
        self._engine = Engine(
            balances=[
                Balance(asset=asset, free=balances.get(asset, Decimal(0)), locked=Decimal(0))
                for asset in sorted(assets)
            ],
            fees=fees,
        )
        self._fees = fees
        by_id = {one.rules.symbol: one for one in self._markets.values()}
        self._crossing = Crossing(self._engine, by_id, is_recorded=True)
        self._now = ms_from_utc(now)
        #: by symbol and client order id; of several the newest
        self._orders: dict[tuple[str, str], VenueOrder] = {}
        self._told: dict[int, tuple[VenueOrder, PlacedOrder]] = {}
        self._fills: dict[str, list[Fill]] = {symbol: [] for symbol in self._markets}
        self._fills_of: dict[str, list[Fill]] = {}
        #: what has been told of this moment, by symbol
        self._moment = utc_from_ms(self._now)
        self._tickers: dict[str, Ticker] = {}
        self._books: dict[str, OrderBook] = {}
        #: by symbol, and whether orders are taken
        self._rules: dict[tuple[str, bool], Market] = {}

    def now(self) -> datetime:
        """Aware UTC market time."""
        return self._moment

    def advance(self, until: datetime) -> list[Fill]:
        """Move the market on. Returns the fills of the open orders that it met on the way, oldest first.

        A time that is past moves nothing.
        """
        end = ms_from_utc(until)
        if end <= self._now:
            return []
        self._crossing.match(self._now, end)
        self._now, self._moment = end, utc_from_ms(end)
        self._tickers.clear()
        self._books.clear()
        return self._keep()

    def next_moment(self, until: datetime) -> datetime | None:
        """When in (now, until] the first open order is filled or triggered; None: nothing happens."""
        moment = self._crossing.next_moment(self._now, ms_from_utc(until))
        return None if moment is None else utc_from_ms(moment)

    def market(self, symbol: str) -> Market:
        """The rules of a symbol; its fees are this account's. Raises ExchangeRefused for an unlisted one."""
        listed = self._listed(symbol)
        key = symbol, self._now < listed.replay.end_ms
        if key not in self._rules:
            self._rules[key] = self._made(symbol, listed.rules, is_trading=key[1])
        return self._rules[key]

    def candles(self, symbol: str, timeframe: str, *, since: datetime, limit: int) -> list[Candle]:
        """Up to `limit` candles from `since` on, oldest first; the last one may still be forming."""
        market, interval = self._listed(symbol), INTERVALS.get(timeframe, 1)
        if interval % market.replay.interval_ms:
            raise ExchangeRefused(
                f"the data of {symbol} has no {timeframe} candles: choose a coarser timeframe"
            )
        bars = market.candles(interval, self._now, start_ms=ms_from_utc(since), end_ms=None, limit=limit)
        return [
            Candle(symbol=symbol, timeframe=timeframe, open_time=utc_from_ms(bar[0]), **_figures(bar[1:]))
            for bar in bars
        ]

    def ticker(self, symbol: str) -> Ticker:
        if symbol not in self._tickers:
            market = self._listed(symbol)
            last = market.replay.price(self._now)
            bid, ask = market.quotes.bid(last), market.quotes.ask(last)
            self._tickers[symbol] = Ticker(symbol=symbol, bid=bid, ask=ask, last=last, as_of=self._moment)
        return self._tickers[symbol]

    def order_book(self, symbol: str, *, depth: int) -> OrderBook:
        """The best `depth` levels of each side."""
        if symbol not in self._books:
            levels = self._listed(symbol).book(self._now)
            self._books[symbol] = OrderBook(
                symbol=symbol, bids=levels.bids, asks=levels.asks, as_of=self._moment
            )
        book = self._books[symbol]
        if depth >= max(len(book.bids), len(book.asks)):
            return book
        return replace(book, bids=book.bids[:depth], asks=book.asks[:depth])

    def balances(self) -> Balances:
        return {balance.asset: balance for balance in self._engine.accounts.all()}

    def submit(self, order: Order, *, signed_at: datetime | None = None) -> PlacedOrder:
        """Place it now: no request is ever on its way, so `signed_at` means nothing.

        Raises OrderRejected, or OrderFateUnknown for a client order id that is open already.
        """
        try:
            market = self._listed(order.symbol)
            if not market.replay.is_trading(self._now):
                raise order_refused("Market is closed.")
            price = market.replay.price(self._now)
            placed, _ = self._engine.place(
                _request(order, market), market.rules, market.book(self._now), price, self._now
            )
        except (Refusal, ExchangeRefused) as error:
            raise _submit_error(order, error) from error
        self._keep()
        return self._placed(placed)

    def find(self, symbol: str, client_order_id: str) -> PlacedOrder | None:
        order = self._orders.get((self._listed(symbol).rules.symbol, client_order_id))
        return None if order is None else self._placed(order)

    def cancel(self, symbol: str, client_order_id: str, *, exchange_order_id: str | None = None) -> bool:
        """Whether it was open, and is cancelled now."""
        rules = self._listed(symbol).rules
        order = self._orders.get((rules.symbol, client_order_id))
        if order is None or not order.status.is_open:
            return False
        self._engine.cancel(order.order_id, rules, self._now)
        self._keep()
        return True

    def has_stop_orders(self, symbol: str) -> bool:
        self._listed(symbol)
        return True

    def has_open_orders(self, symbol: str) -> bool:
        return bool(self._engine.open_orders(self._listed(symbol).rules.symbol))

    def open_orders(self, symbol: str) -> list[PlacedOrder]:
        """Oldest first."""
        exchange_symbol = self._listed(symbol).rules.symbol
        return [self._placed(order) for order in self._engine.open_orders(exchange_symbol)]

    def fills(self, symbol: str, *, exchange_order_id: str | None = None) -> list[Fill]:
        """Own trades of a symbol, oldest first; of one order if it is named. At most the newest page."""
        self._listed(symbol)
        if exchange_order_id is None:
            return self._fills[symbol][-_PAGE:]
        return [fill for fill in self._fills_of.get(exchange_order_id, ()) if fill.symbol == symbol]

    def clock_difference_ms(self) -> int:
        """The two clocks are one."""
        return 0

    def _made(self, symbol: str, rules: Rules, *, is_trading: bool) -> Market:
        return Market(
            symbol=symbol,
            base=rules.base,
            quote=rules.quote,
            tick_size=rules.tick_size,
            lot_size=rules.lot_size,
            min_quantity=rules.lot_size,
            max_quantity=MAX_QUANTITY,
            min_notional=rules.min_notional,
            maker_fee=self._fees.maker,
            taker_fee=self._fees.taker,
            trading=is_trading,
        )

    def _listed(self, symbol: str) -> ListedMarket:
        try:
            return self._markets[symbol]
        except KeyError:
            raise ExchangeRefused(f"no market {symbol} is in this replay: give its data") from None

    def _keep(self) -> list[Fill]:
        """Remember what the engine changed. Returns the fills among it."""
        changes = self._engine.take_changes()
        if changes is None:
            return []
        self._orders |= {(order.symbol, order.client_order_id): order for order in changes.orders}
        fills = [self._fill(fill) for fill in changes.fills]
        for fill in fills:
            self._fills[fill.symbol].append(fill)
            self._fills_of.setdefault(fill.exchange_order_id, []).append(fill)
        return fills

    def _placed(self, order: VenueOrder) -> PlacedOrder:
        """What is told of an order, made anew only after a change."""
        told = self._told.get(order.order_id)
        if told is None or told[0] is not order:
            told = self._told[order.order_id] = order, self._report(order)
        return told[1]

    def _report(self, order: VenueOrder) -> PlacedOrder:
        return PlacedOrder(
            client_order_id=order.client_order_id,
            exchange_order_id=str(order.order_id),
            symbol=self._by_id[order.symbol],
            side=_ORDER_SIDES[order.side],
            state=_STATES[order.status],
            quantity=order.quantity,
            filled_quantity=order.filled_quantity,
            filled_notional=order.filled_notional,
            updated_at=utc_from_ms(order.updated_ms),
        )

    def _fill(self, fill: VenueFill) -> Fill:
        return Fill(
            trade_id=str(fill.trade_id),
            exchange_order_id=str(fill.order_id),
            symbol=self._by_id[fill.symbol],
            side=_ORDER_SIDES[fill.side],
            quantity=fill.quantity,
            price=fill.price,
            fee=fill.fee,
            fee_asset=fill.fee_asset,
            is_maker=fill.is_maker,
            executed_at=utc_from_ms(fill.executed_ms),
        )


def _figures(values: Iterable[Decimal]) -> dict[str, Decimal]:
    return dict(zip(("open", "high", "low", "close", "volume"), values, strict=True))


def _request(order: Order, market: ListedMarket) -> OrderRequest:
    return OrderRequest(
        symbol=market.rules.symbol,
        client_order_id=order.client_order_id,
        side=_SIDES[order.side],
        kind=_KINDS[order.order_type],
        quantity=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.trigger_price,
    )


def _submit_error(order: Order, error: Refusal | ExchangeRefused) -> OrderRejected | OrderFateUnknown:
    """One of this client order id that is open may be ours, as on every exchange."""
    said = f"order {order.client_order_id}: {error}"
    return (
        OrderFateUnknown(said) if isinstance(error, Refusal) and error.is_duplicate else OrderRejected(said)
    )
