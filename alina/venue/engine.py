"""The matching engine: pure state and exact arithmetic, no clock and no I/O.

An order takes from the book at once (taker) and then rests. A resting order is filled at its limit
price (maker) when the caller, who knows the path of the price, says that the market reached it. A stop
order waits, with what it needs locked, until the caller says that its stop price came. Of a pair, the first
that is filled in any part or triggered ends the other.
What changed is handed out once, to be committed before anyone is told of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, localcontext
from itertools import count

from alina.domain.market import Balance, BookLevel
from alina.venue.accounts import Accounts
from alina.venue.book import Book
from alina.venue.fees import Fees
from alina.venue.filters import MAX_NUM_ALGO_ORDERS, MAX_NUM_ORDERS, Rules
from alina.venue.matching import Sweep, sweep
from alina.venue.needs import refuse_immediate_trigger, require_pair, rests, spent, to_lock
from alina.venue.orders import OrderRequest, Side, Status, VenueFill, VenueOrder, made_name
from alina.venue.refusal import duplicate_order, filter_failure

#: a sum or product that would round raises instead
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero])


@dataclass(frozen=True, slots=True)
class Changes:
    """What must be committed together."""

    orders: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    balances: tuple[Balance, ...]


class Engine:
    """The orders of one account on all symbols of the venue."""

    def __init__(
        self,
        *,
        balances: Iterable[Balance],
        open_orders: Iterable[VenueOrder] = (),
        fees: Fees,
        next_order_id: int = 1,
        trade_ids: Iterator[int] | None = None,
    ) -> None:
        """`trade_ids`: shared by engines whose trades are told together."""
        self.accounts = Accounts(balances)
        self._open = {order.order_id: order for order in open_orders}
        self._fees = fees
        self._next_order_id = next_order_id
        self._trade_ids = trade_ids or count(1)
        self._changed: dict[int, VenueOrder] = {}
        self._fills: list[VenueFill] = []

    def open_orders(self, symbol: str | None = None) -> list[VenueOrder]:
        """Oldest first; of all symbols unless one is named."""
        return [order for order in self._open.values() if symbol in (None, order.symbol)]

    def open_order(self, order_id: int) -> VenueOrder | None:
        """None: it is done, or never was."""
        return self._open.get(order_id)

    def pair_of(self, order: VenueOrder) -> list[VenueOrder]:
        """The open orders of its list, itself included; none where it is in no list."""
        if order.list_id is None:
            return []
        return [one for one in self._open.values() if one.list_id == order.list_id]

    def check(self, request: OrderRequest, rules: Rules, book: Book, last_price: Decimal) -> None:
        """Raise the Refusal that `place` would raise; change nothing."""
        with localcontext(_EXACT):
            self._checked(request, rules, book, last_price)

    def place(
        self, request: OrderRequest, rules: Rules, book: Book, last_price: Decimal, now: int
    ) -> tuple[VenueOrder, tuple[VenueFill, ...]]:
        """Take the order and what it reaches of the book. A Refusal is raised before anything changed."""
        with localcontext(_EXACT):
            swept = self._checked(request, rules, book, last_price)
            order = self._new_order(request, swept, now)
            if not order.is_waiting:
                return self._enter(order, request, swept, rules, now)
            self.accounts.lock(spent(request.side, rules), order.need)
            self._keep(order)
            return order, ()

    def place_pair(
        self, pair: tuple[OrderRequest, OrderRequest], rules: Rules, book: Book, last_price: Decimal, now: int
    ) -> tuple[VenueOrder, VenueOrder]:
        """Take two resting orders of which the first that acts ends the other (one cancels the other).

        They lock the dearer one's need once. A Refusal is raised before anything changed.
        """
        with localcontext(_EXACT):
            require_pair(pair)
            for beside, request in enumerate(pair):
                self._checked(request, rules, book, last_price, beside=beside)
            list_id = self._next_order_id
            nothing = Sweep((), is_complete=False)
            one, two = (replace(self._new_order(leg, nothing, now), list_id=list_id) for leg in pair)
            self.accounts.lock(spent(one.side, rules), max(one.need, two.need))
            self._keep(one)
            self._keep(two)
            return one, two

    def trigger(
        self, order_id: int, rules: Rules, book: Book, now: int
    ) -> tuple[VenueOrder, tuple[VenueFill, ...]]:
        """Put a waiting order on the book: its stop price came.

        A market buy that the account cannot pay at the prices of now expires with nothing.
        """
        with localcontext(_EXACT):
            waiting = self._open[order_id]
            self._leave_pair(waiting, rules, Status.EXPIRED, now)
            request = waiting.once_triggered
            asset = spent(waiting.side, rules)
            self.accounts.unlock(asset, waiting.need)
            swept = sweep(request, book, rules.lot_size)
            if self.accounts.free(asset) < to_lock(request, swept, waiting.fee_reserve):
                swept = Sweep((), is_complete=False)
            return self._enter(replace(waiting, working_ms=now, updated_ms=now), request, swept, rules, now)

    def fill_resting(
        self, order_id: int, rules: Rules, now: int, quantity: Decimal | None = None
    ) -> VenueFill:
        """Fill an open order at its limit price: so much of it, or all that is left."""
        order = self._open[order_id]
        with localcontext(_EXACT):
            self._leave_pair(order, rules, Status.EXPIRED, now)
            rest = BookLevel(order.limit_price or Decimal(0), quantity or order.remaining)
            fill = self._fill(order, rules, rest, is_maker=True, now=now)
            self._keep(_with_fills(order, [fill]))
            return fill

    def cancel(self, order_id: int, rules: Rules, now: int) -> VenueOrder:
        """End an open order, and the other one of its pair, and give back what it locked."""
        if order_id not in self._open:
            return self._changed[order_id]  # it was ended just now, with the other one
        with localcontext(_EXACT):
            order = self._open[order_id]
            self._leave_pair(order, rules, Status.CANCELED, now)
            order = self._end(order, rules, Status.CANCELED, now)
            self._keep(order)
            return order

    def take_changes(self) -> Changes | None:
        """What changed since the last call; None: nothing."""
        balances = self.accounts.take_changed()
        if not self._changed:
            return None
        changes = Changes(tuple(self._changed.values()), tuple(self._fills), balances)
        self._changed.clear()
        self._fills.clear()
        return changes

    def _checked(
        self, request: OrderRequest, rules: Rules, book: Book, last_price: Decimal, *, beside: int = 0
    ) -> Sweep:
        """What it takes of the book. `beside`: orders that are placed together with it."""
        rules.check(request, last_price=last_price)
        open_orders = self.open_orders(request.symbol)
        if len(open_orders) + beside >= MAX_NUM_ORDERS and rests(request):
            raise filter_failure("MAX_NUM_ORDERS")
        if any(order.client_order_id == request.client_order_id for order in open_orders):
            raise duplicate_order()
        if request.kind.is_stop:
            refuse_immediate_trigger(request, last_price)
            if sum(order.kind.is_stop for order in open_orders) >= MAX_NUM_ALGO_ORDERS:
                raise filter_failure("MAX_NUM_ALGO_ORDERS")
            swept = Sweep((), is_complete=False)
        else:
            swept = sweep(request, book, rules.lot_size)
        # A market order must be covered as it was asked for, even where the book holds less.
        asked = request.quote_quantity if request.side is Side.BUY else request.quantity
        locked = to_lock(request, swept, self._fees.reserve(request.side))
        self.accounts.require(spent(request.side, rules), max(locked, asked or Decimal(0)))
        return swept

    def _new_order(self, request: OrderRequest, swept: Sweep, now: int) -> VenueOrder:
        order_id = self._next_order_id
        self._next_order_id += 1
        return VenueOrder(
            order_id=order_id,
            client_order_id=request.client_order_id or made_name(order_id),
            symbol=request.symbol,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            quantity=swept.quantity if request.quantity is None else request.quantity,
            quote_quantity=request.quote_quantity,
            limit_price=request.limit_price,
            status=Status.NEW,
            filled_quantity=Decimal(0),
            filled_notional=Decimal(0),
            placed_ms=now,
            updated_ms=now,
            stop_price=request.stop_price,
            working_ms=None if request.kind.is_stop else now,
            fee_reserve=self._fees.reserve(request.side),
        )

    def _enter(
        self, order: VenueOrder, request: OrderRequest, swept: Sweep, rules: Rules, now: int
    ) -> tuple[VenueOrder, tuple[VenueFill, ...]]:
        """Take from the book, then rest or end. Nothing of the order is locked yet."""
        self.accounts.lock(spent(order.side, rules), to_lock(request, swept, order.fee_reserve))
        fills = [self._fill(order, rules, take, is_maker=False, now=now) for take in swept.takes]
        order = _with_fills(order, fills)
        if not swept.is_complete and not rests(request):
            order = self._end(order, rules, Status.EXPIRED, now)
        self._keep(order)
        return order, tuple(fills)

    def _fill(
        self, order: VenueOrder, rules: Rules, take: BookLevel, *, is_maker: bool, now: int
    ) -> VenueFill:
        """Move the balances. Its order is told of it by `_with_fills`."""
        notional = take.quantity * take.price
        if order.side is Side.BUY:
            locked = take.quantity * (order.limit_price or take.price) * (1 + order.fee_reserve)
            self.accounts.unlock(rules.quote, locked - notional)
            self.accounts.spend_locked(rules.quote, notional)
            asset, received = rules.base, take.quantity
        else:
            self.accounts.spend_locked(rules.base, take.quantity)
            asset, received = rules.quote, notional
        self.accounts.receive(asset, received)
        if self._fees.in_quote:
            asset, received = rules.quote, notional
        fee_asset, fee = self._fee(rules, asset, received, notional, is_maker=is_maker)
        if self._fees.in_quote and order.side is Side.BUY:
            fee = min(fee, notional * order.fee_reserve)  # no more than was agreed and locked
        self.accounts.pay(fee_asset, fee)
        fill = VenueFill(
            trade_id=next(self._trade_ids),
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=take.quantity,
            price=take.price,
            fee=fee,
            fee_asset=fee_asset,
            is_maker=is_maker,
            executed_ms=now,
        )
        self._fills.append(fill)
        return fill

    def _fee(
        self, rules: Rules, asset: str, received: Decimal, notional: Decimal, *, is_maker: bool
    ) -> tuple[str, Decimal]:
        """The asset and the amount. All of a fee is paid in the third asset, or nothing of it."""
        if self._fees.asset is not None:
            fee = self._fees.in_asset(notional, rules.quote, is_maker=is_maker)
            if fee <= self.accounts.free(self._fees.asset):
                return self._fees.asset, fee
        return asset, self._fees.of(received, is_maker=is_maker)

    def _end(self, order: VenueOrder, rules: Rules, status: Status, now: int) -> VenueOrder:
        self.accounts.unlock(spent(order.side, rules), order.need)
        return replace(order, status=status, updated_ms=now)

    def _leave_pair(self, order: VenueOrder, rules: Rules, status: Status, now: int) -> None:
        """End the other one of its pair: what is locked is from here on what this order needs."""
        other = next((one for one in self.pair_of(order) if one.order_id != order.order_id), None)
        if other is not None:
            self.accounts.unlock(spent(order.side, rules), max(order.need, other.need) - order.need)
            self._keep(replace(other, status=status, updated_ms=now))

    def _keep(self, order: VenueOrder) -> None:
        self._changed[order.order_id] = order
        if order.status.is_open:
            self._open[order.order_id] = order
        else:
            self._open.pop(order.order_id, None)


def _with_fills(order: VenueOrder, fills: Sequence[VenueFill]) -> VenueOrder:
    if not fills:
        return order
    filled = sum((fill.quantity for fill in fills), order.filled_quantity)
    return replace(
        order,
        status=Status.FILLED if filled == order.quantity else Status.PARTIALLY_FILLED,
        filled_quantity=filled,
        filled_notional=sum((fill.quantity * fill.price for fill in fills), order.filled_notional),
        updated_ms=fills[-1].executed_ms,
    )
