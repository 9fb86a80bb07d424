"""The books beside the exchange: what differs, and what on the exchange is not ours.

Orders are claimed, filled and settled while we look. So the ledger is read before and after the exchange,
and only what neither of the two moments explains is a difference:

  the first look comes first: a trade that the balances hold, and the ledger did not know by then, is on the
  exchange's list of trades, which is read after the balances. Then the balances are not compared.
  the second look comes last: what was sent by us before the exchange was read was claimed before it was
  sent, so the second look knows it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import structlog

from alina.domain.market import Balances
from alina.domain.orders import Fill, ForeignOrder, LedgerOrder, OrderSide, PlacedOrder
from alina.errors import ExchangeRefused
from alina.orchestrator import execution, scope
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Books:
    """One look at the ledger: the orders that are not settled, and every fill by symbol."""

    unsettled: tuple[LedgerOrder, ...]
    fills: Mapping[str, Sequence[Fill]]

    @property
    def in_flight(self) -> set[str]:
        """Symbols with an order whose fate or whose fills are still being asked for.

        An order that rests on the exchange, with every fill of it recorded, is not in flight.
        """
        return {known.order.symbol for known in self.unsettled if self._is_in_flight(known)}

    def _is_in_flight(self, known: LedgerOrder) -> bool:
        if known.exchange_order_id is None or known.state.is_final:
            return True
        fills = self.fills.get(known.order.symbol, ())
        recorded = sum(f.quantity for f in fills if f.exchange_order_id == known.exchange_order_id)
        return recorded != known.filled_quantity

    def resting(self, symbol: str) -> dict[str, LedgerOrder]:
        """The orders of a symbol that the exchange has named and that are not settled, by its name."""
        return {
            known.exchange_order_id: known
            for known in self.unsettled
            if known.order.symbol == symbol and known.exchange_order_id is not None
        }


@dataclass(slots=True)
class Comparison:
    """What was found."""

    #: one line each
    differences: list[str] = field(default_factory=list)
    #: the same of symbols that the settings name no more: nobody can put them right, so once is enough
    gone: list[str] = field(default_factory=list)
    #: the foreign orders that are not remembered yet, by the line that reports each
    foreign: dict[str, ForeignOrder] = field(default_factory=dict)
    #: trades of foreign orders that the ledger does not have
    trades: list[Fill] = field(default_factory=list)

    def add_foreign(self, symbol: str, name: str, side: OrderSide, client_order_id: str | None) -> None:
        """Report a foreign order once, whether it is open, traded or both."""
        line = f"{symbol}: order {name} is on the exchange only"
        if line not in self.foreign:
            self.foreign[line] = ForeignOrder(
                symbol=symbol, exchange_order_id=name, side=side, client_order_id=client_order_id
            )
            self.differences.append(line)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the exchange says of one symbol."""

    open_orders: Sequence[PlacedOrder]
    trades: Sequence[Fill]


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose the orders of one symbol are, by the exchange's names for them."""

    #: not settled in the first look, and in the second
    rested: Mapping[str, LedgerOrder]
    rests: Mapping[str, LedgerOrder]
    #: of ours, and no longer resting; of one the exchange never named, given up, our own name
    ended: set[str]
    foreign: set[str]


def look(runtime: Runtime) -> Comparison:
    """Compare orders and fills by symbol, and on the venue the balances.

    A symbol of which the exchange refuses to speak is a difference; one with an order in flight waits for
    the next comparison. On a real exchange the balances are not compared: a deposit is no fault. Raises
    ExchangeUnavailable, and LedgerError for a contradiction.
    """
    before, found = _books(runtime), Comparison()
    with runtime.unit_of_work() as uow:
        opened_at = uow.ledger.opened_at(runtime.account)
    balances = runtime.exchange.balances()
    told = {symbol: _told(runtime, symbol, opened_at) for symbol in scope.symbols(runtime)}
    after = _books(runtime)
    for symbol, answer in told.items():
        if answer is None:
            is_wanted = symbol in runtime.settings.market.symbols
            lines = found.differences if is_wanted else found.gone
            lines.append(f"{symbol}: the exchange refuses to tell its orders and trades")
        elif symbol not in after.in_flight:
            _compare(runtime, found, symbol, before, after, answer)
    trades = {symbol: answer.trades for symbol, answer in told.items() if answer is not None}
    is_known = runtime.settings.market.exchange.mode == "paper" and len(trades) == len(told)
    if is_known and not (before.in_flight or after.in_flight) and _is_still(before, after, trades):
        with runtime.unit_of_work() as uow:
            opening = uow.ledger.opening_balances(runtime.account)
        every_fill = [fill for fills in before.fills.values() for fill in fills]
        found.differences += compare_balances(opening, balances, every_fill)
    return found


def _told(runtime: Runtime, symbol: str, opened_at: datetime | None) -> _Told | None:
    """Without what was traded before the account was opened: its opening balances hold that.

    None: it is refused, as for a symbol that was taken off the exchange.
    """
    try:
        open_orders, trades = runtime.exchange.open_orders(symbol), runtime.exchange.fills(symbol)
        return _Told(
            open_orders, [one for one in trades if opened_at is None or one.executed_at >= opened_at]
        )
    except ExchangeRefused as error:
        log.warning("not compared", symbol=symbol, error=str(error))
        return None


def _books(runtime: Runtime) -> Books:
    """The orders first: one that is settled between the two statements then counts as in flight."""
    with runtime.unit_of_work() as uow:
        unsettled = [o for o in uow.ledger.unsettled_orders() if o.order.account == runtime.account]
        fills: dict[str, list[Fill]] = defaultdict(list)
        for fill in uow.ledger.fills(runtime.account):
            fills[fill.symbol].append(fill)
    return Books(tuple(unsettled), fills)


def _compare(
    runtime: Runtime, found: Comparison, symbol: str, before: Books, after: Books, told: _Told
) -> None:
    """One symbol's orders and trades."""
    ours = _ours(runtime, symbol, before, after, told)
    _compare_open(found, symbol, ours, told.open_orders)
    _compare_trades(found, symbol, ours, told.trades, after.fills.get(symbol, ()))
    found.differences += _compare_resting(runtime, ours, told.open_orders)


def _ours(runtime: Runtime, symbol: str, before: Books, after: Books, told: _Told) -> _Known:
    names = {trade.exchange_order_id for trade in told.trades}
    for placed in told.open_orders:
        names |= {placed.exchange_order_id, placed.client_order_id}
    first, second = before.resting(symbol), after.resting(symbol)
    with runtime.unit_of_work() as uow:
        ended = uow.ledger.own_order_ids(runtime.account, symbol, names) - second.keys()
        foreign = {order.exchange_order_id for order in uow.ledger.foreign_orders(runtime.account, symbol)}
    return _Known(first, second, ended, foreign)


def _compare_open(found: Comparison, symbol: str, known: _Known, open_orders: Sequence[PlacedOrder]) -> None:
    """Whatever is open on the exchange rests in the ledger too, or is known to be foreign."""
    for placed in open_orders:
        name = placed.exchange_order_id
        # one that ended while we looked was open in the first look
        if {name, placed.client_order_id} & (known.ended - known.rested.keys()) and name not in known.foreign:
            found.differences.append(f"{symbol}: order {placed.client_order_id} is open on the exchange only")
        elif name not in known.rests.keys() | known.ended | known.foreign:
            found.add_foreign(symbol, name, placed.side, placed.client_order_id)


def _compare_trades(
    found: Comparison, symbol: str, known: _Known, trades: Sequence[Fill], recorded: Sequence[Fill]
) -> None:
    """Trades by their id, every field equal. The exchange may list fewer: it answers the newest ones.

    A new trade of an order that rests is recorded when that is settled.
    """
    ours = {fill.trade_id: fill for fill in recorded}
    for trade in trades:
        name = trade.exchange_order_id
        if trade.trade_id in ours:
            if trade != ours[trade.trade_id]:
                here = ours[trade.trade_id]
                found.differences.append(f"{symbol}: trade {trade.trade_id}: {here} here, {trade} there")
        elif name in known.ended:
            found.differences.append(f"{symbol}: trade {trade.trade_id} of our order {name} is not recorded")
        elif name not in known.rests:
            found.trades.append(trade)
            if name not in known.foreign:
                found.add_foreign(symbol, name, trade.side, None)


def _compare_resting(runtime: Runtime, known: _Known, open_orders: Sequence[PlacedOrder]) -> list[str]:
    """What rests here is open there and has not lost a fill. A list may be late: the order itself decides."""
    lines = []
    listed = {placed.exchange_order_id: placed.filled_quantity for placed in open_orders}
    for name in known.rested.keys() & known.rests.keys():
        ours, order = known.rested[name], known.rested[name].order
        if listed.get(name, Decimal(-1)) >= ours.filled_quantity:
            continue
        placed = runtime.exchange.find(order.symbol, order.client_order_id)
        if placed is not None and placed.filled_quantity < ours.filled_quantity:
            lines.append(
                f"{order.symbol}: order {order.client_order_id} has {ours.filled_quantity} filled here, "
                f"{placed.filled_quantity} on the exchange"
            )
        elif placed is not None and placed.state.is_final:
            execution.settle(runtime, order.client_order_id)
    return lines


def _is_still(before: Books, after: Books, trades: Mapping[str, Sequence[Fill]]) -> bool:
    """Whether nothing was traded while the balances were read."""
    if before.fills != after.fills:
        return False
    return all(
        {trade.trade_id for trade in trades[symbol]} <= {one.trade_id for one in before.fills.get(symbol, ())}
        for symbol in trades
    )


def compare_balances(opening: Balances, now: Balances, fills: Sequence[Fill]) -> list[str]:
    """Opening balances moved by every fill must give the balances of now, to the last digit."""
    expected = {asset: balance.total for asset, balance in opening.items()}
    for fill in fills:
        base, quote = fill.symbol.split("/")
        sign = 1 if fill.side is OrderSide.BUY else -1
        changes = ((base, sign * fill.quantity), (quote, -sign * fill.notional), (fill.fee_asset, -fill.fee))
        for asset, change in changes:
            expected[asset] = expected.get(asset, Decimal(0)) + change
    actual = {asset: balance.total for asset, balance in now.items()}
    return [
        f"{asset}: {expected.get(asset, 0)} by the ledger's fills, {actual.get(asset, 0)} on the exchange"
        for asset in sorted(expected.keys() | actual.keys())
        if expected.get(asset, 0) != actual.get(asset, 0)
    ]
