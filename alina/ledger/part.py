"""What the ledger's parts share: the session, and the words for rows and records."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from alina.db.tables import AccountRow, Base, OrderRow
from alina.domain.orders import OrderType
from alina.domain.portfolio import TradingState
from alina.domain.records import Record
from alina.errors import LedgerError

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class Part:
    """A part of the ledger, working in somebody else's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session


def values_of(record: Record) -> dict[str, Any]:
    """The record's fields by name, as its row's columns."""
    return {field.name: getattr(record, field.name) for field in fields(record)}  # type: ignore[arg-type]


def record_of(kind: type[R], row: Base, **differing: Any) -> R:
    """The record of a row whose columns have the fields' names, but for those given."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**{name: differing[name] if name in differing else getattr(row, name) for name in names})


def found(row: T | None, what: str) -> T:
    """The row. Raises LedgerError if there is none."""
    if row is None:
        raise LedgerError(f"{what} is not in the ledger: check the name or id, and ALINA_DATABASE_URL")
    return row


def is_older(column: Any, age: timedelta) -> ColumnElement[bool]:
    """Whether a wall time of the database lies at least this far back."""
    condition: ColumnElement[bool] = column <= func.clock_timestamp() - age
    return condition


def may_rest(order_type: Any) -> ColumnElement[bool]:
    """Whether an order of this type may wait on the exchange for its price."""
    condition: ColumnElement[bool] = order_type != OrderType.MARKET
    return condition


def activated_at(account: str | None) -> Any:
    """Since when the account is ACTIVE, as a subquery; NULL, over which `greatest` passes, if it is not."""
    return (
        select(AccountRow.state_changed_at)
        .where(AccountRow.name == account, AccountRow.trading_state == TradingState.ACTIVE)
        .scalar_subquery()
    )


def locked_account(session: Session, name: str) -> AccountRow:
    """The account's row, locked until the transaction ends. Raises LedgerError if unknown.

    FOR NO KEY UPDATE: one holder at a time, while new proposals may still refer to the account.
    """
    row = session.get(AccountRow, name, with_for_update={"key_share": True}, populate_existing=True)
    return found(row, f"account {name!r}")


def locked_order(session: Session, client_order_id: str) -> OrderRow:
    """The order's row, locked; its account is always locked first, so that no two can wait in a circle."""
    row = found(session.get(OrderRow, client_order_id), f"order {client_order_id}")
    locked_account(session, row.account)
    session.refresh(row, with_for_update=True)
    return row


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """The names whose values differ, for an error message."""
    return ", ".join(sorted(name for name in left if left[name] != right[name]))
