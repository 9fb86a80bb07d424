"""When the path of the price meets the open orders, and in which order they act.

In the order of time; at one moment stop orders first, so that a loss is taken before a gain, then the
better price, then the older order. The resting orders of one side get of one candle no more than one side
of the book then holds: what is left waits for the next candle.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from heapq import heappop, heappush

from alina.venue.engine import Engine
from alina.venue.foresight import Foresight
from alina.venue.markets import ListedMarket
from alina.venue.orders import Side, VenueFill, VenueOrder


class Crossing:
    """The open orders of one engine on the listed markets. Times are market ms."""

    def __init__(
        self, engine: Engine, markets: Mapping[str, ListedMarket], *, is_recorded: bool = False
    ) -> None:
        """`is_recorded`: the whole path is there already, so when an order acts can be known beforehand."""
        self._engine = engine
        self._markets = markets
        self._is_recorded = is_recorded
        #: by its id, when an order acts as it is
        self._foreseen: dict[int, tuple[VenueOrder, Foresight]] = {}
        #: end of a candle, and what resting orders of a symbol and side got of it
        self._given: dict[tuple[str, Side], tuple[int, Decimal]] = {}

    def resume(self, symbol: str, fills: Iterable[VenueFill], now: int) -> None:
        """Count what resting orders got of a symbol's running candle before a venue was started again."""
        candle_end = self._markets[symbol].replay.candle_end(now)
        for fill in fills:
            if fill.is_maker:
                self._count(symbol, fill.side, candle_end, fill.quantity)

    def match(self, since: int, until: int) -> None:
        """Fill or trigger what the path reached in (since, until]."""
        reached: list[tuple[int, bool, Decimal, int]] = []

        def look(order: VenueOrder, after: int) -> None:
            moment = self._reached(order, after, until)
            if moment is not None:
                heappush(reached, (moment, not order.is_waiting, _rank(order), order.order_id))

        for order in self._engine.open_orders():
            look(order, since)
        while reached:
            moment, _, _, order_id = heappop(reached)
            acting = self._engine.open_order(order_id)
            if acting is None:  # its other leg has acted
                continue
            after = self._act(acting, moment)
            left = self._engine.open_order(order_id)
            if left is not None:
                look(left, after)

    def next_moment(self, since: int, until: int) -> int | None:
        """When in (since, until] the first open order acts; None: none does."""
        orders = self._engine.open_orders()
        self._foreseen = {
            one.order_id: self._foreseen[one.order_id] for one in orders if one.order_id in self._foreseen
        }
        moments = (self._reached(order, since, until) for order in orders)
        return min((moment for moment in moments if moment is not None), default=None)

    def _reached(self, order: VenueOrder, since: int, until: int) -> int | None:
        market = self._markets[order.symbol]
        if order.filled_quantity:  # it has had its part of that candle
            since = max(since, market.replay.candle_end(order.updated_ms) - 1)
        if not self._is_recorded:
            return market.reached(order, since, until)
        seen = self._foreseen.get(order.order_id)
        if seen is None or seen[0] is not order:
            seen = order, Foresight(partial(market.reached, order), market.replay.interval_ms)
            self._foreseen[order.order_id] = seen
        return seen[1].first(since, until)

    def _act(self, order: VenueOrder, moment: int) -> int:
        """Trigger it, or fill what the book holds for it. Returns the moment after which to look again."""
        market = self._markets[order.symbol]
        if order.is_waiting:
            self._engine.trigger(order.order_id, market.rules, market.book(moment), moment)
            return moment
        candle_end = market.replay.candle_end(moment)
        quantity = min(order.remaining, self._on_offer(market, order, candle_end, moment))
        if quantity:
            self._engine.fill_resting(order.order_id, market.rules, moment, quantity)
            self._count(order.symbol, order.side, candle_end, quantity)
        return max(moment, candle_end - 1)

    def _count(self, symbol: str, side: Side, candle_end: int, quantity: Decimal) -> None:
        end, given = self._given.get((symbol, side), (candle_end, Decimal(0)))
        self._given[symbol, side] = (candle_end, quantity + (given if end == candle_end else 0))

    def _on_offer(self, market: ListedMarket, order: VenueOrder, candle_end: int, moment: int) -> Decimal:
        """What the other side of the book holds, less what resting orders got of this candle already."""
        book = market.book(moment)
        held = sum((level.quantity for level in (book.asks, book.bids)[order.side is Side.SELL]), Decimal(0))
        end, given = self._given.get((order.symbol, order.side), (0, Decimal(0)))
        return max(held - given, Decimal(0)) if end == candle_end else held


def _rank(order: VenueOrder) -> Decimal:
    """Lower is served first: a higher purchase, a lower sale."""
    price = order.limit_price or Decimal(0)
    return -price if order.side is Side.BUY else price
