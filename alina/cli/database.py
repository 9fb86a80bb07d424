"""The database for commands that need nothing else, whether or not the system runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session, sessionmaker

from alina.config import Settings
from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.errors import DatabaseUnavailable, SystemStateError
from alina.ledger import Ledger

#: SQLSTATE of a missing table and of a missing column
_NOT_MIGRATED = frozenset({"42P01", "42703"})


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """One transaction on the ledger. Starts the embedded Postgres for its duration if it does not run.

    Makes nothing: raises SystemStateError where nothing was ever recorded, DatabaseUnavailable.
    """
    with open_database(settings) as sessions, transaction(sessions) as session:
        yield Ledger(session)


@contextmanager
def open_database(settings: Settings, *, make: bool = False) -> Iterator[sessionmaker[Session]]:
    """Sessions on the database, likewise. `make`: an embedded one that is not there is made first."""
    from sqlalchemy.exc import ProgrammingError

    with _database_url(settings, make=make) as url:
        engine = make_engine(url)
        try:
            yield session_factory(engine)
        except ProgrammingError as error:
            if getattr(error.orig, "pgcode", None) not in _NOT_MIGRATED:
                raise
            raise SystemStateError(
                "the database has no tables of this version yet: `alina up` makes them"
            ) from None
        finally:
            engine.dispose()


@contextmanager
def _database_url(settings: Settings, *, make: bool) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    if not make and not (settings.data_folder / "postgres").is_dir():
        raise SystemStateError(f"nothing was recorded yet in {settings.data_folder}: `alina up` begins")
    folder = DataFolder(settings.data_folder)
    server = EmbeddedPostgres(folder)
    if server.pid is not None or folder.holder() is not None:
        yield _url_of_running(server)
        return
    with folder.lock():  # nobody starts the system meanwhile
        try:
            url = server.start()
            if make:
                migrations.upgrade(url)
            yield url
        finally:
            server.stop()


def _url_of_running(server: EmbeddedPostgres) -> str:
    try:
        return server.url
    except SystemStateError:  # it has died, or is not there yet: whoever runs the system starts it
        raise DatabaseUnavailable(
            "Postgres of the running system is being started: try again in a moment, or see `alina status`"
        ) from None
