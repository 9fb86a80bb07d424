"""The way to Postgres: engine, sessions, and one transaction with errors in the project's words."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import psycopg2.extensions  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from alina.db.prepared import Call, send
from alina.errors import ConfigError, DatabaseUnavailable, TransientError

_DRIVERS = ("postgresql", "postgresql+psycopg2")
#: generic plans: what is prepared here is planned once, and for every parameter alike
_OPTIONS = (
    "-c timezone=UTC -c statement_timeout=30s -c lock_timeout=10s -c plan_cache_mode=force_generic_plan"
)

#: SQLSTATE -> what happened: the same transaction may succeed when it is run again
_REPEATABLE = {
    "40001": "two transactions touched the same rows",
    "40P01": "two transactions waited for each other",
    "55P03": "a row stayed locked for 10 seconds",
    "57014": "a statement ran longer than 30 seconds",
}

_INSUFFICIENT_PRIVILEGE = "42501"
_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE


def make_engine(url: str, *, poolclass: type[Pool] | None = None, trusted_seconds: float = 1.0) -> Engine:
    """An engine on psycopg2 that speaks UTC, and checks a connection that was idle longer before use.

    One that breaks in use ends its transaction with DatabaseUnavailable, and every other of the pool with it.
    Accepts postgresql:// and postgresql+psycopg2://. Raises ConfigError for anything else.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("ALINA_DATABASE_URL is not a URL: write postgresql://user@host/database") from None
    if parsed.drivername not in _DRIVERS:
        raise ConfigError(f"ALINA_DATABASE_URL begins with {parsed.drivername}://: write postgresql://")
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        poolclass=poolclass,
        json_serializer=json_text,
        connect_args={"options": _OPTIONS, "application_name": "alina", "connect_timeout": 5},
    )
    _check_idle_connections(engine, trusted_seconds)
    return engine


def _check_idle_connections(engine: Engine, trusted_seconds: float) -> None:
    """Ask a connection for a sign of life before use, but none that gave one just now.

    SQLAlchemy's own check (`pool_pre_ping`) costs each transaction a round trip.
    """

    @event.listens_for(engine, "checkin")
    def _checked_in(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checked_out(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < trusted_seconds:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool makes another


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions of this engine; each belongs to one `transaction`."""
    return sessionmaker(engine)


@contextmanager
def transaction(factory: sessionmaker[Session]) -> Iterator[Session]:
    """One unit of work: a single commit at the end, nothing at all after an error.

    Raises DatabaseUnavailable if Postgres cannot be reached or the connection breaks (the commit
    may then have happened or not: every write is safe to repeat), TransientError for a deadlock,
    a serialization failure or a timeout.
    """
    engine: Engine = factory.kw["bind"]
    with our_errors(), engine.connect() as connection, _begun_by_hand(connection) as driver:
        session = LateSession(connection, driver, factory)
        try:
            yield cast(Session, session)
            session.end()
        finally:
            session.close_if_made()


@contextmanager
def _begun_by_hand(connection: Connection) -> Iterator[Any]:
    """The driver's connection, which sends BEGIN and COMMIT no more by itself: each would be a message more.

    Whatever happens, it goes back to the pool outside of any transaction, or not at all.
    """
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        yield driver
    finally:
        if not driver.closed:
            try:
                if driver.get_transaction_status() != _IDLE:
                    connection.exec_driver_sql("ROLLBACK")
                driver.autocommit = False
            except Exception:
                connection.invalidate()
                raise


class LateSession:
    """A session that is made once it is asked for more than prepared statements.

    To make one and to end it takes as long as half of a review's statements, which need none. BEGIN goes in
    the first message, and COMMIT in the last one, with whatever `leave` left for it.
    """

    def __init__(self, connection: Connection, driver: Any, factory: sessionmaker[Session]) -> None:
        self._connection, self._driver, self._factory = connection, driver, factory
        self._made: Session | None = None
        self._left: list[Call] = []

    def ask(self, *calls: Call) -> tuple[Any, ...] | None:
        """The last call's first row."""
        left, self._left = self._left, []
        return send(self._connection, [*left, *calls], begins=not self._is_begun())

    def leave(self, *calls: Call) -> None:
        """Send these with the next message, at the latest with COMMIT: nobody waits for their answer."""
        self._left += calls

    def connection(self) -> Connection:
        """The one that the transaction runs on."""
        if self._left or not self._is_begun():
            left, self._left = self._left, []
            send(self._connection, left, begins=not self._is_begun())
        return self._connection

    def end(self) -> None:
        """Write what is pending, and commit."""
        if self._made is not None:
            self._made.flush()
        if self._left or self._is_begun():
            send(self._connection, self._left, begins=not self._is_begun(), commits=True)

    def rollback(self) -> None:
        """Undo everything so far; what follows begins anew."""
        self._left = []
        if self._made is not None:
            self._made.rollback()
        if self._is_begun():
            self._connection.exec_driver_sql("ROLLBACK")

    def close_if_made(self) -> None:
        """Let go of every row."""
        if self._made is not None:
            self._made.close()

    def _is_begun(self) -> bool:
        return bool(self._driver.get_transaction_status() != _IDLE)

    def __getattr__(self, name: str) -> Any:
        connection = self.connection()
        if self._made is None:
            self._made = self._factory(bind=connection)
        return getattr(self._made, name)


@contextmanager
def our_errors() -> Iterator[None]:
    """Whatever the driver raises inside, in the project's words where there are any."""
    try:
        yield
    except DBAPIError as error:
        raise _in_our_words(error) from error


def _in_our_words(error: DBAPIError) -> Exception:
    state = getattr(error.orig, "pgcode", None)
    if state in _REPEATABLE:
        return TransientError(f"the database asks to try again: {_REPEATABLE[state]}")
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return DatabaseUnavailable(
            f"Postgres does not answer ({str(error.orig).strip()}): check ALINA_DATABASE_URL, "
            "or start the embedded one with `alina up`"
        )
    if state == _INSUFFICIENT_PRIVILEGE:
        return ConfigError(
            f"the database refuses ({str(error.orig).strip()}): only the owner may do everything, give its "
            "ALINA_DATABASE_URL to the commands of persons"
        )
    return error


def json_text(value: object) -> str:
    """JSON of plain data; decimals, times and ids become text. Raises TypeError for the rest."""
    return _JSON.encode(value)


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON: convert it to text first")


_JSON = json.JSONEncoder(default=_as_text)  # made once: to make it takes as long as a short text
