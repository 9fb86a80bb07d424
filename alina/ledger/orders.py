"""Orders: claimed before they are sent, then moved forward by the exchange's own word only."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import DecisionRow, OrderRow, ProposalRow, ReservationRow
from alina.domain.decisions import Decision, Proposal, content_hash
from alina.domain.orders import (
    LedgerOrder,
    Order,
    OrderSide,
    OrderState,
    OrderType,
    PlacedOrder,
    client_order_id_for,
)
from alina.errors import LedgerError
from alina.ledger.part import (
    Part,
    activated_at,
    found,
    is_older,
    locked_account,
    locked_order,
    record_of,
    values_of,
)
from alina.ledger.settlement import settle_if_complete

_RANK = {OrderState.SUBMITTING: 0, OrderState.OPEN: 1, OrderState.PARTIALLY_FILLED: 2}
_FINAL_RANK = 3
#: how the message of an order begins that we ourselves did not send
NOT_SENT = "not sent"


class Orders(Part):
    """The orders' part of the ledger."""

    def claim_order(self, decision: Decision, order: Order) -> bool:
        """Store the order as SUBMITTING; True for the one caller that may send it, once this commits.

        Raises LedgerError unless the stored decision approved exactly this order and still holds what it
        may spend.
        """
        self._check_approval(decision.id, decision.content_hash, order)
        if self._is_given_up(decision.id):
            raise LedgerError(f"the approval of decision {decision.id} was given up: propose the trade anew")
        new = self._session.scalar(
            insert(OrderRow)
            .values(
                decision_id=decision.id,
                content_hash=decision.content_hash,
                state=OrderState.SUBMITTING,
                **values_of(order),
            )
            .on_conflict_do_nothing()
            .returning(OrderRow.client_order_id)
        )
        return new is not None

    def order(self, client_order_id: str) -> LedgerOrder:
        """One order. Raises LedgerError if unknown."""
        row = self._session.get(OrderRow, client_order_id, populate_existing=True)
        return order_of_row(found(row, f"order {client_order_id}"))

    def order_of(self, decision_id: UUID) -> LedgerOrder | None:
        """The order of a decision, if it was claimed."""
        row = self._session.scalar(select(OrderRow).where(OrderRow.decision_id == decision_id))
        return order_of_row(row) if row is not None else None

    def record_placed(self, placed: PlacedOrder) -> None:
        """Move the order forward to what the exchange reports; an older report changes nothing.

        Raises LedgerError for an unknown order and for a report that contradicts an earlier one.
        """
        row = locked_order(self._session, placed.client_order_id)
        check_report(row, placed)
        if rank(placed.state) < rank(row.state) or placed.filled_quantity < row.filled_quantity:
            return
        row.state, row.exchange_order_id = placed.state, placed.exchange_order_id
        row.filled_quantity, row.filled_notional = placed.filled_quantity, placed.filled_notional
        row.updated_at = func.now()
        if row.acknowledged_at is None:
            row.acknowledged_at = func.clock_timestamp()
        self._session.flush()
        settle_if_complete(self._session, row)

    def record_rejected(self, client_order_id: str, *, message: str) -> None:
        """The exchange refused the order, or never had it; its reservation is released.

        Raises LedgerError if the exchange has acknowledged it before.
        """
        row = locked_order(self._session, client_order_id)
        if row.state is OrderState.REJECTED:
            return
        if row.state is not OrderState.SUBMITTING:
            raise LedgerError(
                f"order {client_order_id} was {row.state.value} on the exchange, so it cannot be "
                "rejected now: reconcile it with the exchange"
            )
        row.state, row.message, row.updated_at = OrderState.REJECTED, message, func.now()
        self._session.flush()
        settle_if_complete(self._session, row)

    def unsettled_orders(self, *, older_than: timedelta = timedelta(0)) -> list[LedgerOrder]:
        """Orders at least so old that are not final, or whose fills are not all recorded; oldest first."""
        query = select(OrderRow).where(~OrderRow.settled, is_older(OrderRow.created_at, older_than))
        rows = self._session.scalars(
            query.order_by(OrderRow.created_at).execution_options(populate_existing=True)
        )
        return [order_of_row(row) for row in rows]

    def submitted_before(self, client_order_id: str, age: timedelta) -> bool:
        """Whether the order's request left at least so long ago. Raises LedgerError if unknown."""
        query = select(is_older(OrderRow.submitted_at, age))
        answer = self._session.scalar(query.where(OrderRow.client_order_id == client_order_id))
        return found(answer, f"order {client_order_id}")

    def resting_sales(self, account: str, symbol: str) -> list[LedgerOrder]:
        """Sales of a symbol that wait on the exchange for their price, or may: stops above all; oldest first.

        Like every order they are unsettled, but an exit need not wait for them: it takes their place.
        """
        query = (
            select(OrderRow)
            .where(OrderRow.account == account, OrderRow.symbol == symbol, ~OrderRow.settled)
            .where(OrderRow.side == OrderSide.SELL, OrderRow.order_type != OrderType.MARKET)
            .order_by(OrderRow.created_at)
        )
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [order_of_row(row) for row in rows]

    def is_entering(self, account: str, symbol: str) -> bool:
        """Whether a buy of the symbol is not settled yet."""
        query = select(OrderRow.client_order_id).where(
            OrderRow.account == account, OrderRow.symbol == symbol, ~OrderRow.settled
        )
        return self._session.scalar(query.where(OrderRow.side == OrderSide.BUY).limit(1)) is not None

    def note_reached(self, client_order_id: str) -> None:
        """A price was seen that must have triggered the stop; the first time counts."""
        row = locked_order(self._session, client_order_id)
        if row.reached_at is None:
            row.reached_at = func.clock_timestamp()
            self._session.flush()

    def reached_before(self, client_order_id: str, age: timedelta) -> bool:
        """Whether the stop's price was first seen at least so long ago."""
        query = select(is_older(OrderRow.reached_at, age))
        return self._session.scalar(query.where(OrderRow.client_order_id == client_order_id)) is True

    def claim_resend(self, client_order_id: str, *, after_attempt: int) -> bool:
        """Count one more attempt, submitted now; True for the one caller that may send it, once this commits.

        False where the order is no longer SUBMITTING, or somebody has sent it since that attempt.
        Raises LedgerError if it is not what was approved any more.
        """
        row = locked_order(self._session, client_order_id)
        if row.state is not OrderState.SUBMITTING or row.attempts != after_attempt:
            return False
        self._check_approval(row.decision_id, row.content_hash, record_of(Order, row))
        row.attempts, row.submitted_at = after_attempt + 1, func.clock_timestamp()
        self._session.flush()
        return True

    def given_up(self, account: str, symbol: str, *, limit: int = 20) -> list[LedgerOrder]:
        """Rejected orders whose request may have left and that the exchange never named, newest first."""
        query = (
            select(OrderRow)
            .where(OrderRow.account == account, OrderRow.symbol == symbol)
            .where(OrderRow.state == OrderState.REJECTED, OrderRow.exchange_order_id.is_(None))
            .where(~OrderRow.message.startswith(NOT_SENT))
            .order_by(OrderRow.created_at.desc())
            .limit(limit)
        )
        return [order_of_row(row) for row in self._session.scalars(query)]

    def adopt(self, placed: PlacedOrder) -> None:
        """Take an order back that was given up and is on the exchange after all; what it may spend is held.

        It stands as the exchange reports it, unsettled. Raises LedgerError if the ledger did not give
        up this order, or the report is of another one.
        """
        row = locked_order(self._session, placed.client_order_id)
        ours = (row.symbol, row.side, OrderState.REJECTED, None)
        theirs = (placed.symbol, placed.side, row.state, row.exchange_order_id)
        if ours != theirs or placed.filled_quantity > row.quantity:
            raise LedgerError(f"order {row.client_order_id} was not given up, or {placed} is another one")
        row.state, row.exchange_order_id = placed.state, placed.exchange_order_id
        row.filled_quantity, row.filled_notional = placed.filled_quantity, placed.filled_notional
        row.settled, row.updated_at = False, func.now()
        row.message = f"{row.message}; then it turned up"
        self._session.execute(
            update(ReservationRow)
            .where(ReservationRow.decision_id == row.decision_id)
            .values(state="held", ended_at=None)
        )
        self._session.flush()

    def give_up_approval(self, decision_id: UUID) -> bool:
        """Release what an approval holds whose order was never claimed: it cannot be claimed any more.

        True for the one caller that did. Raises LedgerError if there is no such approval.
        """
        reservation = found(self._session.get(ReservationRow, decision_id), f"approval {decision_id}")
        locked_account(self._session, reservation.account)
        if self.order_of(decision_id) is not None:
            return False
        released = self._session.scalar(
            update(ReservationRow)
            .where(ReservationRow.decision_id == decision_id, ReservationRow.state == "held")
            .values(state="released", ended_at=func.clock_timestamp())
            .returning(ReservationRow.decision_id)
        )
        return released is not None

    def approved_without_order(self, *, older_than: timedelta) -> list[UUID]:
        """Proposals approved at least so long ago whose order was not claimed or given up, oldest first."""
        query = (
            select(DecisionRow.proposal_id)
            .join(ReservationRow, ReservationRow.decision_id == DecisionRow.id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .where(DecisionRow.verdict == "approved", OrderRow.client_order_id.is_(None))
            .where(ReservationRow.state == "held")
            .where(is_older(DecisionRow.created_at, older_than))
            .order_by(DecisionRow.created_at)
        )
        return list(self._session.scalars(query))

    def refused_orders(self, *, within: timedelta, account: str) -> int:
        """How many orders of an account the exchange refused or never had, within this wall time up to now.

        Of an ACTIVE account, only since somebody set it so: what was looked into counts no more.
        """
        since = func.greatest(func.clock_timestamp() - within, activated_at(account))
        query = select(func.count()).where(
            OrderRow.account == account,
            OrderRow.state == OrderState.REJECTED,
            ~OrderRow.message.startswith(NOT_SENT),
            OrderRow.updated_at > since,
        )
        return self._session.scalar(query) or 0

    def _is_given_up(self, decision_id: UUID) -> bool:
        query = select(ReservationRow.state).where(ReservationRow.decision_id == decision_id)
        return self._session.scalar(query) == "released" and self.order_of(decision_id) is None

    def _check_approval(self, decision_id: UUID, approved_hash: str | None, order: Order) -> None:
        stored = found(self._session.get(DecisionRow, decision_id), f"decision {decision_id}")
        row = found(self._session.get(ProposalRow, stored.proposal_id), f"proposal {stored.proposal_id}")
        refuse_unless_approved(stored, record_of(Proposal, row), approved_hash, order)


def refuse_unless_approved(
    stored: Decision | DecisionRow, proposal: Proposal, approved_hash: str | None, order: Order
) -> None:
    """Raise LedgerError unless the stored decision approved exactly this order of its proposal."""
    if stored.verdict != "approved":
        raise LedgerError(f"decision {stored.id} is {stored.verdict}: order approved ones only")
    ordered = replace(
        proposal,
        account=order.account,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        quantity=order.quantity,
        limit_price=order.limit_price,
        trigger_price=order.trigger_price,
    )
    if not content_hash(ordered) == stored.content_hash == approved_hash:
        raise LedgerError(f"order {order.client_order_id} is not what decision {stored.id} approved")
    if order.client_order_id != client_order_id_for(stored.id):
        raise LedgerError(f"order {order.client_order_id} is not named after its decision {stored.id}")


def order_of_row(row: OrderRow) -> LedgerOrder:
    """The order of its row."""
    return record_of(LedgerOrder, row, order=record_of(Order, row))


def check_report(row: OrderRow, placed: PlacedOrder) -> None:
    """What no true report can say of this order."""
    contradiction = (
        (placed.symbol, placed.side) != (row.symbol, row.side)
        or row.exchange_order_id not in {None, placed.exchange_order_id}
        or placed.filled_quantity > row.quantity
        or (row.state.is_final and placed.state.is_final and placed.state is not row.state)
        or (row.settled and placed.filled_quantity > row.filled_quantity)
        or (placed.state.is_final and placed.filled_quantity < row.filled_quantity)
        or (row.state is OrderState.REJECTED and placed.state is not OrderState.REJECTED)
    )
    if contradiction:
        raise LedgerError(
            f"the exchange reports order {row.client_order_id} as {placed}, "
            f"the ledger has it {row.state.value} with {row.filled_quantity} filled: compare both by hand"
        )


def rank(state: OrderState) -> int:
    return _RANK.get(state, _FINAL_RANK)
