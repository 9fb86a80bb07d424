"""Agents and their prompts. A revision never changes; a prompt's active one does."""

from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alina.db.tables import AgentRow, PromptRevisionRow, PromptRow
from alina.domain.runs import PromptRevision, prompt_sha256
from alina.errors import LedgerError
from alina.ledger.part import Part, found, record_of, values_of


class Prompts(Part):
    """The prompts' part of the ledger."""

    def ensure_agent(self, name: str, *, kind: str, prompt: str) -> None:
        """Make the agent, or let it work with this kind and prompt from now on."""
        known = self._session.get(AgentRow, name)
        if known is not None and (known.kind, known.prompt) == (kind, prompt):
            return  # the usual case takes no lock
        _ensure_prompt(self._session, prompt)
        values = {"kind": kind, "prompt": prompt}
        self._session.execute(
            insert(AgentRow)
            .values(name=name, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )

    def ensure_revision(
        self, prompt: str, *, system: str, template: str, author: str, parent_id: UUID | None = None
    ) -> PromptRevision:
        """The revision with these words: the stored one, or a new one. A prompt's first becomes active."""
        digest = prompt_sha256(system, template)
        known = self._revision_of(prompt, digest)
        if known is not None:
            return known
        _ensure_prompt(self._session, prompt)
        row = self._locked_prompt(prompt)  # numbers are given out by one transaction at a time
        known = self._revision_of(prompt, digest)
        if known is not None:
            return known
        revision = PromptRevision(
            id=uuid5(NAMESPACE_URL, f"alina:prompt:{prompt}:{digest}"),
            prompt=prompt,
            number=self._next_number(prompt),
            system=system,
            template=template,
            author=author,
            parent_id=parent_id,
            sha256=digest,
        )
        self._session.add(PromptRevisionRow(**values_of(revision)))
        self._session.flush()
        if row.active_revision_id is None:
            row.active_revision_id = revision.id
            self._session.flush()
        return revision

    def active_revision(self, prompt: str) -> PromptRevision:
        """The revision in use. Raises LedgerError if the prompt has none."""
        query = (
            select(PromptRevisionRow)
            .join(PromptRow, PromptRow.active_revision_id == PromptRevisionRow.id)
            .where(PromptRow.name == prompt)
        )
        return record_of(PromptRevision, found(self._session.scalar(query), f"prompt {prompt!r}"))

    def activate_revision(self, prompt: str, revision_id: UUID) -> None:
        """Use this revision from now on. Raises LedgerError if it is not one of the prompt's."""
        if self.revision(revision_id).prompt != prompt:
            raise LedgerError(f"revision {revision_id} is not of prompt {prompt!r}: activate one of its own")
        self._locked_prompt(prompt).active_revision_id = revision_id
        self._session.flush()

    def revision(self, revision_id: UUID) -> PromptRevision:
        """One revision. Raises LedgerError if unknown."""
        row = self._session.get(PromptRevisionRow, revision_id)
        return record_of(PromptRevision, found(row, f"prompt revision {revision_id}"))

    def revisions(self, prompt: str) -> list[PromptRevision]:
        """Every revision of a prompt, newest first."""
        query = select(PromptRevisionRow).where(PromptRevisionRow.prompt == prompt)
        rows = self._session.scalars(query.order_by(PromptRevisionRow.number.desc()))
        return [record_of(PromptRevision, row) for row in rows]

    def _revision_of(self, prompt: str, digest: str) -> PromptRevision | None:
        query = select(PromptRevisionRow).where(
            PromptRevisionRow.prompt == prompt, PromptRevisionRow.sha256 == digest
        )
        row = self._session.scalar(query)
        return record_of(PromptRevision, row) if row is not None else None

    def _next_number(self, prompt: str) -> int:
        newest = select(func.max(PromptRevisionRow.number)).where(PromptRevisionRow.prompt == prompt)
        return (self._session.scalar(newest) or 0) + 1

    def _locked_prompt(self, prompt: str) -> PromptRow:
        row = self._session.get(
            PromptRow, prompt, with_for_update={"key_share": True}, populate_existing=True
        )
        return found(row, f"prompt {prompt!r}")


def _ensure_prompt(session: Session, name: str) -> None:
    session.execute(insert(PromptRow).values(name=name).on_conflict_do_nothing())
