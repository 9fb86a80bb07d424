"""The way to Postgres: engine, sessions, and one transaction with errors in the project's words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import Pool

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


def make_engine(url: str, *, poolclass: type[Pool] | None = None) -> Engine:
    """An engine on psycopg2 that checks a pooled connection before use and speaks UTC.

    Accepts postgresql:// and postgresql+psycopg2://. Raises ConfigError for anything else.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("ALINA_DATABASE_URL is not a URL: write postgresql://user@host/database") from None
    if parsed.drivername not in _DRIVERS:
        raise ConfigError(f"ALINA_DATABASE_URL begins with {parsed.drivername}://: write postgresql://")
    return create_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        poolclass=poolclass,
        pool_pre_ping=True,
        json_serializer=json_text,
        connect_args={"options": _OPTIONS, "application_name": "alina", "connect_timeout": 5},
    )


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
    with our_errors(), factory.begin() as session:
        yield session


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
