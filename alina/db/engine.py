"""The way to Postgres: engine, sessions, and one transaction with errors in the project's words."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, Pool

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
    with our_errors(), engine.begin() as connection:
        session = _LateSession(connection, factory)
        try:
            yield cast(Session, session)
            session.flush_if_made()
        finally:
            session.close_if_made()


class _LateSession:
    """A session that is made once it is asked for more than its connection.

    To make one and to end it takes as long as half of a review's statements, which need none.
    """

    def __init__(self, connection: Connection, factory: sessionmaker[Session]) -> None:
        self._connection, self._factory = connection, factory
        self._made: Session | None = None

    def connection(self) -> Connection:
        """The one that the transaction runs on."""
        return self._connection

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._factory(bind=self._connection)
        return getattr(self._made, name)

    def flush_if_made(self) -> None:
        """Write what is pending, before the connection commits."""
        if self._made is not None:
            self._made.flush()

    def close_if_made(self) -> None:
        """Let go of every row."""
        if self._made is not None:
            self._made.close()


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
    return json.dumps(value, default=_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON: convert it to text first")
