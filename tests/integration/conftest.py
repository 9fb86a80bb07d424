"""What the tests of the main path stand on: a venue whose market stands still, a ledger of a module's own."""

from collections.abc import Iterator

import pytest
from ledger_cases import with_agent
from sqlalchemy import Engine
from system import RunningVenue, migrated, running_venue

from alina.db.engine import make_engine, session_factory, transaction
from alina.ledger import Ledger
from alina.ledger.in_memory import InMemoryLedger
from alina.venue.spec import Dialect


@pytest.fixture(scope="module")
def venue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVenue]:
    """A venue process of the module's own, with `VENUE_SYMBOLS` symbols: one for each system of its tests."""
    symbols = getattr(request.module, "VENUE_SYMBOLS", 30)
    dialect = getattr(request.module, "VENUE_DIALECT", Dialect.BINANCE)
    with running_venue(tmp_path_factory.mktemp("home"), symbols=symbols, dialect=dialect) as venue:
        yield venue


@pytest.fixture(scope="module")
def ledger_url(postgres_server: str) -> Iterator[str]:
    """A database at the newest schema, dropped after the module."""
    with migrated(postgres_server) as url:
        yield url


@pytest.fixture(scope="module")
def engine(ledger_url: str) -> Iterator[Engine]:
    """An engine on that database, as its owner."""
    engine = make_engine(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["postgres", "in_memory"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A ledger in one transaction, and its double: no test leaves a row to the next.

    `IN_POSTGRES` marks what only a running system asks.
    """
    if request.param == "in_memory":
        ledger: Ledger = InMemoryLedger()
        with_agent(ledger)
        yield ledger
        return
    engine: Engine = request.getfixturevalue("engine")
    with transaction(session_factory(engine)) as session:
        ledger = Ledger(session)
        with_agent(ledger)
        yield ledger
        session.rollback()
