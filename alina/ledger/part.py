"""What the ledger's parts share: the session, and the words for rows and records."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from alina.db.engine import LateSession
from alina.db.prepared import Call, send
from alina.db.tables import AccountRow, Base, OrderRow
from alina.domain.portfolio import TradingState
from alina.domain.records import Record
from alina.errors import LedgerError

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class Part:
    """A part of the ledger, working in somebody else's transaction."""

    #: the proposal that nobody has decided and its hash, as was seen since the account is locked
    _undecided: tuple[UUID, str | None] | None = None

    def __init__(self, session: Session) -> None:
        self._session = session


def first_row(session: Session, *calls: Call) -> tuple[Any, ...] | None:
    """The last call's first row; all of them go to Postgres in one message (see `send`)."""
    if isinstance(session, LateSession):
        return session.ask(*calls)
    return send(session.connection(), calls)


def leave(session: Session, *calls: Call) -> None:
    """Write without waiting for an answer: with the next message or COMMIT, which raises what is wrong."""
    if isinstance(session, LateSession):
        session.leave(*calls)
    else:
        send(session.connection(), calls)


def values_of(record: Record) -> dict[str, Any]:
    """The record's fields by name, as its row's columns."""
    return {name: getattr(record, name) for name in _names(type(record))}  # type: ignore[arg-type]


def record_of(kind: type[R], row: Base, **differing: Any) -> R:
    """The record of a row whose columns have the fields' names, but for those given."""
    for name in _names(kind):  # type: ignore[arg-type]  # mypy takes the class for its instance
        if name not in differing:
            differing[name] = getattr(row, name)
    return kind(**differing)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def found(row: T | None, what: str) -> T:
    """The row. Raises LedgerError if there is none."""
    if row is None:
        raise LedgerError(f"{what} is not in the ledger: check the name or id, and ALINA_DATABASE_URL")
    return row


def is_older(column: Any, age: timedelta) -> ColumnElement[bool]:
    """Whether a wall time of the database lies at least this far back."""
    condition: ColumnElement[bool] = column <= func.clock_timestamp() - age
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
