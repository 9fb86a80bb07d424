"""What somebody else did with the account: foreign orders, their trades, and what did not agree."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import FillRow, ForeignOrderRow, MismatchRow, OrderRow, PositionRow
from alina.domain.market import Market
from alina.domain.orders import Fill, ForeignOrder, Handling, OrderSide
from alina.errors import LedgerError
from alina.ledger.fills import (
    DIGITS,
    add_buy,
    add_sale,
    base_sold,
    empty_position,
    is_third_asset,
    quote_fee,
    smallest_sale,
)
from alina.ledger.part import Part, found, is_older, locked_account, record_of, values_of
from alina.ledger.settlement import close_if_done, open_position_row

#: whose positions those are that a foreign buy opened
MANUAL_AGENT = "manual"
_LONGEST = 1000
#: a part of some proceeds has no last digit
_ROUNDED = Context(prec=28)


class Foreign(Part):
    """The ledger's part for what no decision of ours approved."""

    def foreign_orders(self, account: str, symbol: str) -> list[ForeignOrder]:
        """Every foreign order that is remembered in a symbol."""
        query = select(ForeignOrderRow).where(
            ForeignOrderRow.account == account, ForeignOrderRow.symbol == symbol
        )
        return [record_of(ForeignOrder, row) for row in self._session.scalars(query)]

    def own_order_ids(self, account: str, symbol: str, names: Iterable[str]) -> set[str]:
        """Those of the names that are ours: exchange order ids, or client order ids of orders the exchange
        has not named yet."""
        asked = list(names)
        query = select(OrderRow.exchange_order_id, OrderRow.client_order_id).where(
            OrderRow.account == account,
            OrderRow.symbol == symbol,
            or_(
                OrderRow.exchange_order_id.in_(asked),
                OrderRow.client_order_id.in_(asked) & OrderRow.exchange_order_id.is_(None),
            ),
        )
        return {named or name for named, name in self._session.execute(query)}

    def record_foreign_order(self, account: str, order: ForeignOrder, handling: Handling) -> None:
        """Remember it with how it is handled; the first word stays.

        Raises LedgerError if it is an order of ours.
        """
        locked_account(self._session, account)
        if self.own_order_ids(account, order.symbol, [order.exchange_order_id]):
            raise LedgerError(f"{order.symbol}: order {order.exchange_order_id} is ours, not foreign")
        self._session.execute(
            insert(ForeignOrderRow)
            .values(account=account, handling=handling, **values_of(order))
            .on_conflict_do_nothing()
        )

    def record_foreign_fill(
        self,
        account: str,
        fill: Fill,
        *,
        market: Market,
        fee_rate: Decimal | None,
        stop_price: Decimal | None,
        take_profit_price: Decimal | None,
        close_after: datetime | None,
    ) -> bool:
        """Store a trade of a remembered foreign order, once; whether it was new.

        Of an adopted order it moves the open position; a buy without one opens it, under the exits given,
        and a sale takes off no more than the position holds. `fee_rate` is the quote an asset of a fee in
        neither base nor quote. Raises LedgerError if its order is not remembered.
        """
        locked_account(self._session, account)
        if self._session.get(FillRow, (account, fill.symbol, fill.trade_id)) is not None:
            return False
        key = (account, fill.symbol, fill.exchange_order_id)
        order = found(self._session.get(ForeignOrderRow, key), f"foreign order {fill.exchange_order_id}")
        rate = fee_rate if is_third_asset(fill, market) else None
        position = open_position_row(self._session, account, fill.symbol)
        if order.handling is Handling.LEAVE:
            position = None
        elif fill.side is OrderSide.BUY:
            if position is None:
                position = _opened(order, fill, stop_price, take_profit_price, close_after)
                self._session.add(position)
            with localcontext(prec=DIGITS):
                add_buy(position, fill, market, rate)
        elif position is not None:
            _sell(position, fill, market, rate)
        self._session.flush()
        self._session.add(
            FillRow(
                account=account,
                handling=order.handling,
                position_id=position.id if position is not None else None,
                smallest_sale=smallest_sale(market, fill),
                fee_rate=rate,
                **values_of(fill),
            )
        )
        self._session.flush()
        if position is not None:
            close_if_done(self._session, account, fill.symbol)
        return True

    def record_mismatches(self, account: str, descriptions: Sequence[str]) -> None:
        """Count each once more, in the words that report it."""
        for description in dict.fromkeys(text[:_LONGEST] for text in descriptions):
            again = {"times": MismatchRow.times + 1, "last_seen_at": func.now()}
            self._session.execute(
                insert(MismatchRow)
                .values(account=account, description=description)
                .on_conflict_do_update(index_elements=["account", "description"], set_=again)
            )

    def mismatches(self, account: str, *, older_than: timedelta) -> set[str]:
        """What was reported first at least so long ago."""
        query = select(MismatchRow.description).where(
            MismatchRow.account == account, is_older(MismatchRow.first_seen_at, older_than)
        )
        return set(self._session.scalars(query))


def _sell(position: PositionRow, fill: Fill, market: Market, fee_rate: Decimal | None) -> None:
    """Take off what the position holds at most; of what was sold beyond it the account had from elsewhere."""
    with localcontext(prec=DIGITS):
        sold = base_sold(fill, market)
        proceeds = fill.notional - quote_fee(fill, market, fee_rate)
        if sold > position.quantity:
            proceeds = _ROUNDED.divide(proceeds * position.quantity, sold)
            sold = position.quantity
        add_sale(position, sold, proceeds)


def _opened(
    order: ForeignOrderRow,
    fill: Fill,
    stop_price: Decimal | None,
    take_profit_price: Decimal | None,
    close_after: datetime | None,
) -> PositionRow:
    """A new, still empty position."""
    return empty_position(
        f"{order.account}:{order.symbol}:{fill.trade_id}",
        account=order.account,
        symbol=order.symbol,
        opened_at=fill.executed_at,
        adopted_from=order.exchange_order_id,
        agent=MANUAL_AGENT,
        stop_price=stop_price,
        take_profit_price=take_profit_price,
        close_after=close_after,
    )
