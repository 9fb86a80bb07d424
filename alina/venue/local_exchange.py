"""The venue itself: markets on a replay, one engine, and books on disk.

Every change is committed before it is returned; where that fails, the venue stops answering for good.
Open orders are matched along the whole path of the price since the last look, so that no speed skips a
price. Market time is leased: the books always carry a time that nobody was told to be past, and a
venue killed at any moment resumes there. So the market's time never runs backwards.
"""

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal

from alina.domain.market import Balance
from alina.errors import SystemStateError
from alina.venue.crossing import Crossing
from alina.venue.engine import Changes, Engine
from alina.venue.feeds import load
from alina.venue.fees import Fees
from alina.venue.market_time import MarketTime, wall_ms
from alina.venue.markets import ListedMarket, common_time, list_market
from alina.venue.mirror import END_MS, Mirror, by_exchange_symbol, is_mirror
from alina.venue.orders import OrderRequest, VenueFill, VenueOrder
from alina.venue.rate_limits import RateLimits
from alina.venue.refusal import Refusal, order_refused
from alina.venue.spec import AccountSpec, Dialect, VenueSpec
from alina.venue.store import ClockRow, Page, Store
from alina.venue.trade_ids import TradeIds

#: wall milliseconds of market time that one commit of the clock covers
_LEASE_MS = 1000


class LocalExchange:
    """One account on the listed markets. Times are market ms. Not thread-safe: one event loop calls it."""

    def __init__(
        self,
        spec: VenueSpec,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        account: AccountSpec | None = None,
        beside: "LocalExchange | None" = None,
    ) -> None:
        """The account of the spec's own key; or another one, on the markets and in the time of the first."""
        self.mirror: Mirror | None = None
        self.markets: Mapping[str, ListedMarket]
        if beside is not None:
            begin, end, self.markets = beside.begin_ms, beside.time.end_ms, beside.markets
        elif is_mirror(spec):
            self.mirror = Mirror(spec)
            begin, end, self.markets = 0, END_MS, by_exchange_symbol(self.mirror)
        else:
            series = {listing.symbol: load(listing, warmup=spec.warmup) for listing in spec.listings}
            begin, end = common_time(series, spec.warmup)
            listed = (list_market(one, series[one.symbol], spec.spread) for one in spec.listings)
            self.markets = {market.rules.symbol: market for market in listed}
        self.begin_ms: int = begin
        now = wall_ms() if is_mirror(spec) else begin
        #: told of everything that was committed, in its order; none of them may raise
        self.listeners: list[Callable[[Changes], None]] = []
        #: another one after every start
        self.instance = uuid.uuid4().hex
        self.fees = Fees(
            spec.maker_fee,
            spec.taker_fee,
            spec.fee_asset,
            spec.fee_asset_prices,
            in_quote=spec.dialect is Dialect.KRAKEN,
        )
        self.rate_limits = RateLimits(weight_a_minute=spec.weight_limit, orders_in_10s=spec.order_limit_10s)
        books = "venue.sqlite" if account is None else f"account-{account.name}.sqlite"
        self.store = Store(spec.folder / books)
        clock = self.store.clock()
        if clock is None:
            clock = ClockRow(now, now)
            self.store.begin(clock, self._first_balances((account or spec).balances))
        self._clock = _fitting(clock, begin, end, spec)
        order_id, trade_id = self.store.next_ids()
        #: all accounts of the venue, this one among them; they number their trades together
        self.accounts: list[LocalExchange] = beside.accounts if beside else []
        self.accounts.append(self)
        self.trade_ids: TradeIds = beside.trade_ids if beside else TradeIds()
        self.trade_ids.begin_from(trade_id)
        self.engine = Engine(
            balances=self.store.balances(),
            open_orders=self._listed(self.store.open_orders(), spec),
            fees=self.fees,
            next_order_id=order_id,
            trade_ids=self.trade_ids,
        )
        self._crossing = Crossing(self.engine, self.markets)
        for symbol, market in self.markets.items():
            opened = market.replay.candle_end(clock.matched_ms) - market.replay.interval_ms
            self._crossing.resume(symbol, self.store.fills_since(symbol, opened), clock.matched_ms)
        self.time: MarketTime = (
            beside.time if beside else MarketTime(clock.lease_ms, end, spec.speed, monotonic_ns)
        )
        self.time.not_before(max(clock.lease_ms, now))
        self._failure: BaseException | None = None
        self._monotonic_ns = monotonic_ns
        self._hidden_until_ns: dict[int, int] = {}
        self._trades_hidden_until_ns: dict[int, int] = {}
        self._book_is_thin = False

    def advance(self) -> int:
        """Match open orders up to now, commit what changed, return the market's time."""
        if self._failure is not None:
            raise SystemStateError(f"the venue's books are out of step ({self._failure!r}): start it again")
        now = self.time.now()
        with self._books(now):
            self._crossing.match(self._clock.matched_ms, now)
        return now

    def public_fills(self, symbol: str, page: Page) -> list[VenueFill]:
        """The trades of all accounts up to now, as anyone may see them, oldest first."""
        for one in self.accounts:
            one.advance()
        fills = (fill for one in self.accounts for fill in one.store.fills(symbol, page))
        told = sorted(fills, key=lambda fill: fill.trade_id)
        return told[-page.limit :] if page.is_newest else told[: page.limit]

    def market(self, symbol: str) -> ListedMarket:
        """Raises Refusal for a symbol that is not listed."""
        try:
            return self.markets[symbol]
        except KeyError:
            raise Refusal(-1121, "Invalid symbol.") from None

    def has_ended(self, now: int) -> bool:
        """The data is over: time stands still and the markets are closed."""
        return now >= self.time.end_ms

    def check(self, request: OrderRequest, now: int) -> None:
        """Raise the Refusal that `place` would raise; change nothing."""
        market = self._trading_market(request.symbol, now)
        self.engine.check(request, market.rules, market.book(now), market.replay.price(now))

    def place(self, request: OrderRequest, now: int) -> tuple[VenueOrder, tuple[VenueFill, ...]]:
        """Take an order and what it reaches of the book, committed. Raises Refusal."""
        market = self._trading_market(request.symbol, now)
        book = market.book(now)
        if self._book_is_thin:
            asked = request.quantity or (request.quote_quantity or Decimal(0)) / market.replay.price(now)
            book = book.holding(asked / 2 // market.rules.lot_size * market.rules.lot_size)
        with self._books(now):
            return self.engine.place(request, market.rules, book, market.replay.price(now), now)

    def place_pair(self, pair: tuple[OrderRequest, OrderRequest], now: int) -> tuple[VenueOrder, VenueOrder]:
        """Take two orders of which the first that acts ends the other, committed. Raises Refusal."""
        market = self._trading_market(pair[0].symbol, now)
        with self._books(now):
            return self.engine.place_pair(pair, market.rules, market.book(now), market.replay.price(now), now)

    def cancel(self, orders: list[VenueOrder], now: int) -> list[VenueOrder]:
        """Cancel open orders together, committed."""
        with self._books(now):
            return [self.engine.cancel(one.order_id, self.markets[one.symbol].rules, now) for one in orders]

    def hide(self, order_id: int, seconds: float, *, only_trades: bool) -> None:
        """Let no query show an order, or only none of its trades, for so long on the wall clock."""
        until = self._monotonic_ns() + int(seconds * 1_000_000_000)
        self._trades_hidden_until_ns[order_id] = until
        if not only_trades:
            self._hidden_until_ns[order_id] = until

    def shows(self, order_id: int) -> bool:
        """Whether queries may tell of an order. Cancels know it anyway."""
        return self._hidden_until_ns.get(order_id, 0) <= self._monotonic_ns()

    def shows_trades(self, order_id: int) -> bool:
        return self._trades_hidden_until_ns.get(order_id, 0) <= self._monotonic_ns()

    @contextmanager
    def thin_book(self) -> Iterator[None]:
        """While it lasts, an order finds half of what it asks for on the book."""
        self._book_is_thin = True
        try:
            yield
        finally:
            self._book_is_thin = False

    def close(self) -> None:
        """Write down the exact time and release the books."""
        if self._failure is None:
            now = self.advance()
            self.store.save(ClockRow(now, now))
        self.store.close()

    def _trading_market(self, symbol: str, now: int) -> ListedMarket:
        market = self.market(symbol)
        if self.has_ended(now) or not market.replay.is_trading(now):
            raise order_refused("Market is closed.")
        return market

    @contextmanager
    def _books(self, now: int) -> Iterator[None]:
        """Commit what the block changed. A failure in it leaves memory ahead of the disk: the end."""
        try:
            yield
            self._commit(now)
        except Refusal:
            raise  # raised before anything changed
        except sqlite3.Error as error:
            self._failure = error
            raise SystemStateError(
                f"the venue's disk refused a change ({error}): free it, then start"
            ) from error
        except BaseException as error:
            self._failure = error
            raise

    def _commit(self, now: int) -> None:
        """Write what changed; renew the lease where it ran out."""
        changes = self.engine.take_changes()
        lease = self._clock.lease_ms
        if now > lease:
            lease = min(now + self.time.passing_in(_LEASE_MS), self.time.end_ms)
        clock = ClockRow(now, lease)
        if changes is not None or lease != self._clock.lease_ms:
            self.store.save(clock, changes)
        self._clock = clock
        if changes is not None:
            for tell in self.listeners:
                tell(changes)

    def _first_balances(self, free: Mapping[str, Decimal]) -> list[Balance]:
        assets = {
            asset for market in self.markets.values() for asset in (market.rules.base, market.rules.quote)
        }
        return [
            Balance(asset=asset, free=free.get(asset, Decimal(0)), locked=Decimal(0))
            for asset in sorted(assets | set(free))
        ]

    def _listed(self, orders: list[VenueOrder], spec: VenueSpec) -> list[VenueOrder]:
        foreign = sorted({order.symbol for order in orders} - set(self.markets))
        if foreign:
            raise SystemStateError(
                f"{spec.folder} holds open orders of {', '.join(foreign)}: "
                "list it again or use another folder"
            )
        return orders


def open_accounts(
    spec: VenueSpec, *, monotonic_ns: Callable[[], int] = time.monotonic_ns
) -> dict[str, LocalExchange]:
    """Every account of a venue by its API key, the spec's own first. They share markets, time and no book."""
    first = LocalExchange(spec, monotonic_ns=monotonic_ns)
    others = {
        one.api_key: LocalExchange(spec, monotonic_ns=monotonic_ns, account=one, beside=first)
        for one in spec.accounts
    }
    return {spec.api_key: first, **others}


def _fitting(clock: ClockRow, begin: int, end: int, spec: VenueSpec) -> ClockRow:
    if not begin <= clock.matched_ms <= clock.lease_ms <= end:
        raise SystemStateError(
            f"{spec.folder} stopped at market time {clock.matched_ms} ms, outside the data "
            f"({begin} to {end}): give the same data and warmup again, or use another folder"
        )
    return clock
