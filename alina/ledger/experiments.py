"""Experiments on prompts: they may change while they run, never after."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import ExperimentCaseRow, ExperimentRow
from alina.domain.evaluation import Experiment, ExperimentCase, ExperimentState
from alina.errors import LedgerError
from alina.ledger.part import Part, differences, record_of, values_of


class Experiments(Part):
    """The experiments' part of the ledger."""

    def save_experiment(self, experiment: Experiment) -> None:
        """Store an experiment, or how far one of this key has come while it is RUNNING.

        Raises LedgerError for a change of an ended one, or for another id under the same key.
        """
        values = values_of(experiment)
        statement = insert(ExperimentRow).values(**values).on_conflict_do_nothing()
        if self._session.scalar(statement.returning(ExperimentRow.id)) is not None:
            return
        query = select(ExperimentRow).where(ExperimentRow.key == experiment.key).with_for_update()
        row = self._session.scalar(query.execution_options(populate_existing=True))
        if row is None or row.id != experiment.id:
            raise LedgerError(
                f"experiment {experiment.key} and id {experiment.id} are stored apart: derive ids from keys"
            )
        stored = record_of(Experiment, row)
        if stored != experiment and stored.state is not ExperimentState.RUNNING:
            names = differences(values_of(stored), values)
            raise LedgerError(
                f"experiment {experiment.key} has ended, with another {names}: start another one"
            )
        self._session.execute(update(ExperimentRow).where(ExperimentRow.id == row.id).values(**values))

    def experiment(self, key: str) -> Experiment | None:
        """The experiment of this key, if any."""
        row = self._session.scalar(
            select(ExperimentRow).where(ExperimentRow.key == key).execution_options(populate_existing=True)
        )
        return record_of(Experiment, row) if row is not None else None

    def experiments(self, limit: int = 50) -> list[Experiment]:
        """Experiments, newest first."""
        query = (
            select(ExperimentRow).order_by(ExperimentRow.created_at.desc(), ExperimentRow.key).limit(limit)
        )
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [record_of(Experiment, row) for row in rows]

    def claim_experiment(self, experiment_id: UUID, *, for_at_most: timedelta) -> bool:
        """Whether the caller may answer its cases now; a claim whose holder died ends by itself."""
        now = func.clock_timestamp()
        is_free = ExperimentRow.claimed_until.is_(None) | (ExperimentRow.claimed_until < now)
        claim = update(ExperimentRow).where(ExperimentRow.id == experiment_id, is_free)
        claimed = claim.values(claimed_until=now + for_at_most).returning(ExperimentRow.id)
        return self._session.scalar(claimed) is not None

    def release_experiment(self, experiment_id: UUID) -> None:
        """Give the claim back."""
        self._session.execute(
            update(ExperimentRow).where(ExperimentRow.id == experiment_id).values(claimed_until=None)
        )

    def save_case(self, case: ExperimentCase) -> None:
        """Store a case, or the challenger's score of a stored one; the first score of each stays."""
        values = values_of(case)
        kept = func.coalesce(ExperimentCaseRow.challenger_score, case.challenger_score)
        self._session.execute(
            insert(ExperimentCaseRow)
            .values(**values)
            .on_conflict_do_update(
                index_elements=["experiment_id", "run_id"], set_={"challenger_score": kept}
            )
        )

    def cases(self, experiment_id: UUID) -> list[ExperimentCase]:
        """The cases of an experiment, by run."""
        query = select(ExperimentCaseRow).where(ExperimentCaseRow.experiment_id == experiment_id)
        rows = self._session.scalars(
            query.order_by(ExperimentCaseRow.run_id).execution_options(populate_existing=True)
        )
        return [record_of(ExperimentCase, row) for row in rows]
