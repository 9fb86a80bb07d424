"""What the ledger's parts share: the session, and the words for rows and records."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from alina.db.tables import AccountRow, Base, OrderRow
from alina.domain.portfolio import TradingState
from alina.domain.records import Record
from alina.errors import LedgerError

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class Part:
    """A part of the ledger, working in somebody else's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that each connection plans once, where planning takes longer than running it."""

    name: str
    #: of $1, $2 and so on
    types: tuple[str, ...]
    query: str
    #: how the driver calls it
    call: str = field(init=False)

    def __post_init__(self) -> None:
        places = ", ".join(["%s"] * len(self.types))
        object.__setattr__(self, "call", f"EXECUTE {self.name} ({places})")

    def prepare(self, connection: Connection) -> None:
        """Once a connection."""
        if self.name not in connection.info:
            connection.exec_driver_sql(f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.query}")
            connection.info[self.name] = True


def first_row(session: Session, *calls: tuple[Prepared, Sequence[Any]]) -> tuple[Any, ...] | None:
    """The last call's first row; all of them go to Postgres in one message.

    It runs one after the other, each on what is committed when it begins. The driver's own cursor, since
    the account is locked meanwhile: SQLAlchemy's takes longer than the statements. Raises what it would.
    """
    connection = session.connection()
    driver_error = connection.dialect.loaded_dbapi.Error
    for statement, _ in calls:
        statement.prepare(connection)
    text = "; ".join(statement.call for statement, _ in calls)
    parameters = [parameter for _, given in calls for parameter in given]
    with closing(connection.connection.cursor()) as cursor:
        try:
            cursor.execute(text, parameters)
        except driver_error as error:
            raise DBAPIError.instance(text, parameters, error, driver_error) from error
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


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
