"""Statements that each connection plans once, sent in as few messages as there are answers to wait for."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement whose planning takes longer than running it."""

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
        """Once a connection: what is prepared outlives its transaction, also one that is rolled back."""
        known = connection.info
        if self.name not in known:
            connection.exec_driver_sql(f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.query}")
            known[self.name] = True


#: a statement and its parameters
Call = tuple[Prepared, Sequence[Any]]


def send(
    connection: Connection, calls: Sequence[Call], *, begins: bool = False, commits: bool = False
) -> tuple[Any, ...] | None:
    """The last call's first row; all of them go to Postgres in one message. None if that commits.

    It runs one after the other, each on what is committed when it begins; after one that fails, none.
    `begins`: BEGIN goes before them, `commits`: COMMIT after them; both are for a connection whose
    transactions the driver leaves alone. The driver's own cursor, since an account may be locked
    meanwhile: SQLAlchemy's takes longer than the statements. Raises what it would.
    """
    for statement, _ in calls:
        statement.prepare(connection)
    words = ["BEGIN"] if begins else []
    words += [statement.call for statement, _ in calls]
    words += ["COMMIT"] if commits else []
    text, parameters = "; ".join(words), [one for _, given in calls for one in given]
    driver_error = connection.dialect.loaded_dbapi.Error
    with closing(connection.connection.cursor()) as cursor:
        try:
            cursor.execute(text, parameters)
        except driver_error as error:
            raise DBAPIError.instance(text, parameters, error, driver_error) from error
        row: tuple[Any, ...] | None = cursor.fetchone() if cursor.description else None
        return row
