"""The ledger without a database: for history, where one process does everything and may be run again."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from alina.errors import LedgerError
from alina.ledger.in_memory_accounts import InMemoryPrompts, InMemoryRuns
from alina.ledger.in_memory_fills import InMemoryExposure, InMemoryPositions
from alina.ledger.in_memory_rows import Rows, wall_now
from alina.ledger.in_memory_trading import InMemoryDecisions, InMemoryProposals
from alina.ledger.ledger import Ledger


class InMemoryLedger(
    InMemoryExposure,
    InMemoryPositions,
    InMemoryDecisions,
    InMemoryProposals,
    InMemoryRuns,
    InMemoryPrompts,
    Ledger,
):
    """All that a cycle, a review, an execution and a protective pass ask of a `Ledger`.

    It passes the same tests. Every method is one transaction of its own: one that raises has changed
    nothing that a correct caller could meet. What only a running system asks raises LedgerError.
    """

    def __init__(self, *, wall: Callable[[], datetime] = wall_now) -> None:
        """`wall` measures ages, as the database's clock does."""
        self._rows = Rows(wall)

    @property
    def _session(self) -> Session:  # type: ignore[override]  # what is not overridden ends here
        raise LedgerError("the ledger in memory does not know this: ask one in Postgres")
