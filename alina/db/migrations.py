"""The schema's versions. Alembic without an ini file: the scripts travel with the package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

from alembic import command
from alina.db.engine import make_engine, our_errors

#: in a checkout the scripts are at the top, in an installed wheel beside this module
_FOLDERS = (Path(__file__).parent / "alembic", Path(__file__).parents[2] / "alembic")
_ADVISORY_LOCK = 4_127_460_938


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`, all of it or nothing; safe to run twice or at once.

    Raises DatabaseUnavailable if Postgres does not answer.
    """
    with _locked(url) as connection:
        command.upgrade(configuration(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the schema down to `revision`; "base" drops every table and all they hold."""
    with _locked(url) as connection:
        command.downgrade(configuration(connection), revision)


def is_current(url: str) -> bool:
    """Whether the schema is exactly the newest one known here."""
    with _connected(url) as connection:
        script = ScriptDirectory.from_config(configuration(connection))
        return set(MigrationContext.configure(connection).get_current_heads()) == set(script.get_heads())


def configuration(connection: Connection) -> Config:
    """Alembic's settings for its commands on this connection, `revision` for a new script included."""
    config = Config()
    folder = next(folder for folder in _FOLDERS if (folder / "env.py").exists())
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """One migration at a time: a second process waits, then finds its work done."""
    with _connected(url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        yield connection


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = make_engine(url, poolclass=NullPool)
    try:
        with our_errors(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
