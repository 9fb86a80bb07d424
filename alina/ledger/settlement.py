"""When an order is done: every fill recorded, its reservation given back, its position closed."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from alina.db.tables import DecisionRow, FillRow, OrderRow, PositionRow, ProposalRow, ReservationRow
from alina.domain.portfolio import CloseReason
from alina.errors import LedgerError


def settle_if_complete(session: Session, order: OrderRow) -> None:
    """Settle a locked order that is final and whose recorded fills add up to what it filled.

    Raises LedgerError if more is recorded than the exchange says was filled.
    """
    if order.settled or not order.state.is_final:
        return
    query = select(func.sum(FillRow.quantity)).where(FillRow.client_order_id == order.client_order_id)
    recorded = session.scalar(query) or 0
    if recorded > order.filled_quantity:
        raise LedgerError(
            f"order {order.client_order_id} ended with {order.filled_quantity} filled, "
            f"but its fills add up to {recorded}: compare it with the exchange"
        )
    if recorded < order.filled_quantity:
        return
    order.settled = True
    session.execute(
        update(ReservationRow)
        .where(ReservationRow.decision_id == order.decision_id)
        .values(state="settled" if recorded else "released", ended_at=func.clock_timestamp())
    )
    session.flush()
    close_if_done(session, order.account, order.symbol)


def close_if_done(session: Session, account: str, symbol: str) -> None:
    """Close the open position if what is left cannot be sold.

    Only once no order of the symbol is under way: a fill still to come belongs to this position, so
    the result does not depend on the order in which fills arrive.
    """
    position = open_position_row(session, account, symbol)
    if position is None or is_under_way(session, account, symbol):
        return
    last, reason = session.execute(
        select(FillRow, ProposalRow.close_reason)
        .outerjoin(OrderRow, OrderRow.client_order_id == FillRow.client_order_id)
        .outerjoin(DecisionRow, DecisionRow.id == OrderRow.decision_id)
        .outerjoin(ProposalRow, ProposalRow.id == DecisionRow.proposal_id)
        .where(FillRow.position_id == position.id)
        .order_by(FillRow.executed_at.desc(), FillRow.side.desc(), FillRow.trade_id.desc())
        .limit(1)
    ).one()
    if position.quantity < last.smallest_sale:
        by_hand = last.handling is not None
        position.closed_at = last.executed_at
        position.close_reason = CloseReason.MANUAL if by_hand else reason or CloseReason.AGENT
        session.flush()


def open_position_row(session: Session, account: str, symbol: str) -> PositionRow | None:
    """The row of the account's one open position in a symbol."""
    query = select(PositionRow).where(
        PositionRow.account == account, PositionRow.symbol == symbol, PositionRow.closed_at.is_(None)
    )
    return session.scalar(query.execution_options(populate_existing=True))


def is_under_way(session: Session, account: str, symbol: str) -> bool:
    """Whether an order of the symbol is not settled yet."""
    query = select(OrderRow.client_order_id).where(
        OrderRow.account == account, OrderRow.symbol == symbol, ~OrderRow.settled
    )
    return session.scalar(query.limit(1)) is not None
