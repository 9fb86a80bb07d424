"""Fills: what the exchange says was traded, once each, and how it moves the position."""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_UP, Decimal, localcontext
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alina.db.tables import DecisionRow, FillRow, OrderRow, PositionRow, ProposalRow
from alina.domain.decisions import Proposal
from alina.domain.market import Market
from alina.domain.orders import Fill, OrderSide
from alina.errors import LedgerError
from alina.ledger.part import Part, locked_order, record_of, values_of
from alina.ledger.settlement import open_position_row, settle_if_complete

#: decimal digits of a sum or product here; far above what any exchange states, so nothing is rounded
DIGITS = 100


class Fills(Part):
    """The fills' part of the ledger."""

    def record_fills(
        self,
        client_order_id: str,
        fills: Sequence[Fill],
        *,
        market: Market,
        fee_rates: Mapping[str, Decimal] | None = None,
    ) -> int:
        """Store the order's fills that are new, move the position, settle what is complete.

        `fee_rates` gives the quote an asset of the fee, of assets that are neither base nor quote; without
        its rate such a fee moves the balance and no position. Returns how many were new. Raises
        LedgerError for fills of another order or symbol, and for a sale of more than the position holds.
        """
        order = locked_order(self._session, client_order_id)
        for fill in fills:
            check_fill(order, fill, market)
        known = self._known(order, fills)
        new = {fill.trade_id: fill for fill in fills if fill.trade_id not in known}
        for fill in sorted(new.values(), key=lambda fill: (fill.executed_at, fill.trade_id)):
            with localcontext(prec=DIGITS):
                rate = (fee_rates or {}).get(fill.fee_asset) if is_third_asset(fill, market) else None
                position = _move(self._session, order, fill, market, rate)
            self._session.flush()
            self._session.add(_row(order, fill, position, market, rate))
            self._session.flush()
        settle_if_complete(self._session, order)
        return len(new)

    def fills(self, account: str, symbol: str | None = None) -> list[Fill]:
        """Every recorded fill of an account, in a symbol or all, of foreign orders too, oldest first."""
        query = select(FillRow).where(FillRow.account == account)
        if symbol is not None:
            query = query.where(FillRow.symbol == symbol)
        rows = self._session.scalars(query.order_by(FillRow.executed_at, FillRow.trade_id))
        return [record_of(Fill, row) for row in rows]

    def _known(self, order: OrderRow, fills: Sequence[Fill]) -> set[str]:
        query = select(FillRow).where(
            FillRow.account == order.account,
            FillRow.symbol == order.symbol,
            FillRow.trade_id.in_([fill.trade_id for fill in fills]),
        )
        rows = self._session.scalars(query).all()
        for row in rows:
            if row.client_order_id != order.client_order_id:
                whose = f"order {row.client_order_id}" if row.client_order_id else "a foreign order"
                raise LedgerError(
                    f"trade {row.trade_id} of {row.symbol} is recorded for {whose}, "
                    f"not for {order.client_order_id}: compare both with the exchange"
                )
        return {row.trade_id for row in rows}


def check_fill(order: OrderRow, fill: Fill, market: Market) -> None:
    ours = (order.symbol, order.symbol, order.side, order.exchange_order_id)
    if (fill.symbol, market.symbol, fill.side, fill.exchange_order_id) != ours:
        raise LedgerError(
            f"trade {fill.trade_id} ({fill.side.value} {fill.symbol}, exchange order "
            f"{fill.exchange_order_id}) is not one of order {order.client_order_id}: "
            "record the placed order first, then its own fills"
        )


def is_third_asset(fill: Fill, market: Market) -> bool:
    """Whether the fee was taken in neither of the two assets that were traded, e.g. BNB."""
    return fill.fee_asset not in (market.base, market.quote)


def _move(
    session: Session, order: OrderRow, fill: Fill, market: Market, fee_rate: Decimal | None
) -> PositionRow:
    """Apply one fill to the open position: additions only, so their order does not matter."""
    position = open_position_row(session, order.account, order.symbol)
    if fill.side is OrderSide.SELL:
        return take_sale(position, fill, market, fee_rate, sold_before=partial(_sold_from, session))
    if position is None:
        query = select(ProposalRow).join(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
        proposal = session.scalars(query.where(DecisionRow.id == order.decision_id)).one()
        position = opened(order, fill, proposal)
        session.add(position)
    add_buy(position, fill, market, fee_rate)
    return position


def _sold_from(session: Session, position: PositionRow) -> Decimal:
    """Base that the recorded sales of a position have sold, fees aside."""
    query = select(func.sum(FillRow.quantity)).where(FillRow.position_id == position.id)
    return session.scalar(query.where(FillRow.side == OrderSide.SELL)) or Decimal(0)


def opened(
    order: OrderRow, fill: Fill, proposal: Proposal | ProposalRow, *, make: type[PositionRow] = PositionRow
) -> PositionRow:
    """A new, still empty position, protected as the order's proposal says."""
    return empty_position(
        order.client_order_id,
        make=make,
        account=order.account,
        symbol=order.symbol,
        opened_at=fill.executed_at,
        opened_by=order.client_order_id,
        agent=proposal.agent,
        stop_price=proposal.stop_price,
        take_profit_price=proposal.take_profit_price,
        close_after=proposal.close_after,
    )


def empty_position(key: str, *, make: type[PositionRow] = PositionRow, **columns: Any) -> PositionRow:
    """A new position that holds nothing yet; its id is a function of `key`."""
    nothing = Decimal(0)
    return make(
        id=uuid5(NAMESPACE_URL, f"alina:position:{key}"),
        quantity=nothing,
        bought_quantity=nothing,
        sold_quantity=nothing,
        cost=nothing,
        proceeds=nothing,
        **columns,
    )


def take_sale(
    position: PositionRow | None,
    fill: Fill,
    market: Market,
    fee_rate: Decimal | None,
    *,
    sold_before: Callable[[PositionRow], Decimal],
) -> PositionRow:
    """Take a sale of ours off what is held. Raises LedgerError if less is.

    Where everything is sold, a fee in base (BNB, of a sale of BNB) was paid from what the account has beside
    the position: it lowers the proceeds. `sold_before` tells what earlier sales have sold, fees aside.
    """
    proceeds = fill.notional - quote_fee(fill, market, fee_rate)
    sold = base_sold(fill, market)
    if position is None or sold > position.quantity:
        held = position.bought_quantity - sold_before(position) if position is not None else Decimal(0)
        if position is None or fill.quantity > held:
            raise LedgerError(
                f"trade {fill.trade_id} sells {fill.quantity} of {held} {market.base} held: record the buys "
                "first; if there are none, the account was traded from elsewhere"
            )
        proceeds -= (sold - position.quantity) * fill.price
        sold = position.quantity
    add_sale(position, sold, proceeds)
    return position


def add_buy(position: PositionRow, fill: Fill, market: Market, fee_rate: Decimal | None) -> None:
    """Add what a buy brought and cost, fees in."""
    position.bought_quantity += fill.quantity - _base_fee(fill, market)
    position.cost += fill.notional + quote_fee(fill, market, fee_rate)
    position.opened_at = min(position.opened_at, fill.executed_at)
    position.quantity = position.bought_quantity - position.sold_quantity


def add_sale(position: PositionRow, sold: Decimal, proceeds: Decimal) -> None:
    """Take off so much base, which brought so much quote."""
    position.sold_quantity += sold
    position.proceeds += proceeds
    position.quantity = position.bought_quantity - position.sold_quantity


def base_sold(fill: Fill, market: Market) -> Decimal:
    """What a sale takes away, a fee in base included."""
    return fill.quantity + _base_fee(fill, market)


def quote_fee(fill: Fill, market: Market, fee_rate: Decimal | None) -> Decimal:
    """The fee in quote; one in a third asset at its rate, at nothing without one."""
    if fill.fee_asset == market.quote:
        return fill.fee
    return fill.fee * (fee_rate or Decimal(0))


def _base_fee(fill: Fill, market: Market) -> Decimal:
    return fill.fee if fill.fee_asset == market.base else Decimal(0)


def _row(
    order: OrderRow, fill: Fill, position: PositionRow, market: Market, fee_rate: Decimal | None
) -> FillRow:
    return FillRow(
        account=order.account,
        client_order_id=order.client_order_id,
        position_id=position.id,
        smallest_sale=smallest_sale(market, fill),
        fee_rate=fee_rate,
        **values_of(fill),
    )


def smallest_sale(market: Market, fill: Fill) -> Decimal:
    """The least base that could be sold alone after this fill, on the lot grid.

    After a sale the least notional counts too, at the fill's price: else a rest that no exchange
    takes would keep the symbol's position open for ever.
    """
    least = max(market.lot_size, market.min_quantity)
    if fill.side is OrderSide.SELL:
        least = max(least, market.min_notional / fill.price)
    return (least / market.lot_size).to_integral_value(rounding=ROUND_UP) * market.lot_size
