"""Finding a run by the beginning of an id that a person has read somewhere."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, union_all

from alina.db.tables import DecisionRow, ProposalRow, RunRow
from alina.errors import LedgerError
from alina.ledger.part import Part

_SHORTEST = 6  # digits
_DIGITS = 32


class Lookup(Part):
    """The ledger's part that knows short ids."""

    def find_run(self, name: str) -> UUID | None:
        """The run behind a run's, proposal's or decision's id, or its first digits (at least six).

        None: a protective exit, which no run decided. Raises LedgerError for none or several.
        """
        first, last = id_range(name)
        runs = select(RunRow.id, RunRow.id.label("run_id")).where(RunRow.id.between(first, last))
        proposals = select(ProposalRow.id, ProposalRow.run_id).where(ProposalRow.id.between(first, last))
        decisions = (
            select(DecisionRow.id, ProposalRow.run_id)
            .join(ProposalRow, ProposalRow.id == DecisionRow.proposal_id)
            .where(DecisionRow.id.between(first, last))
        )
        found: Sequence[Any] = self._session.execute(union_all(runs, proposals, decisions)).all()
        if not found:
            raise LedgerError(
                f"no decision, proposal or run begins with {name}: `alina decisions` lists them"
            )
        if len(found) > 1:
            raise LedgerError(f"{name} begins {len(found)} ids: give more of it")
        run_id: UUID | None = found[0].run_id
        return run_id


def id_range(name: str) -> tuple[UUID, UUID]:
    """The first and the last id that begin with these digits. Raises LedgerError for what begins no id."""
    digits = name.replace("-", "").lower()
    if not _SHORTEST <= len(digits) <= _DIGITS or set(digits) - set("0123456789abcdef"):
        raise LedgerError(f"{name!r} begins no id: give at least {_SHORTEST} of its digits (0-9, a-f)")
    return UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))
