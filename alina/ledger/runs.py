"""Runs and their model calls: everything needed to get the same answer again."""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from alina.db.engine import json_text
from alina.db.tables import ModelCallRow, RunRow
from alina.domain.runs import (
    Completion,
    CompletionRequest,
    Message,
    ModelCall,
    ModelIdentity,
    Run,
    RunState,
)
from alina.errors import LedgerError
from alina.ledger.part import Part, activated_at, differences, found, is_older, record_of, values_of

#: what a run is from its start on
_IDENTITY = ("id", "key", "agent", "symbol", "timeframe", "as_of")


class Runs(Part):
    """The runs' part of the ledger."""

    def start_run(self, run: Run) -> Run:
        """Store a run as STARTED; if its key is there, the stored one unchanged."""
        if run.state is not RunState.STARTED:
            raise LedgerError(f"run {run.key} starts as {run.state.value}: start it as started")
        values = values_of(run)
        del values["calls"]
        self._session.execute(insert(RunRow).values(**values).on_conflict_do_nothing())
        row = self._session.scalar(select(RunRow).where(RunRow.key == run.key))
        if row is None:
            raise LedgerError(f"run {run.id} has another key than {run.key}: derive ids from keys")
        return self._with_calls([row])[0]

    def finish_run(self, run: Run) -> None:
        """Store how a run ended, and its model calls.

        Again with the same content changes nothing. Raises LedgerError for an unknown run, for other
        content, or for an end that is none.
        """
        stored, ended = self.lock_run(run.id), as_stored(run)
        if stored.state is not RunState.STARTED and stored == ended:
            return
        self._check_end(stored, ended)
        row = found(self._session.get(RunRow, run.id), f"run {run.id}")
        row.state, row.summary = run.state, run.summary
        row.prompt_revision_id = run.prompt_revision_id
        row.context, row.fact_ids = dict(run.context), list(run.fact_ids)
        row.finished_at = func.clock_timestamp()
        self._session.add_all(_call_row(run.id, call) for call in run.calls)
        self._session.flush()

    def lock_run(self, run_id: UUID) -> Run:
        """A run, locked until the transaction ends. Raises LedgerError if unknown."""
        row = self._session.get(RunRow, run_id, with_for_update={"key_share": True}, populate_existing=True)
        return self._with_calls([found(row, f"run {run_id}")])[0]

    def run(self, run_id: UUID) -> Run:
        """A run with its calls. Raises LedgerError if unknown."""
        row = self._session.get(RunRow, run_id, populate_existing=True)
        return self._with_calls([found(row, f"run {run_id}")])[0]

    def has_run(self, key: str) -> bool:
        """Whether a run of this key was ever started."""
        return self._session.scalar(select(RunRow.id).where(RunRow.key == key)) is not None

    def runs(
        self,
        *,
        agent: str | None = None,
        symbol: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        states: Collection[RunState] | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs with since <= as_of <= until (market time), newest first."""
        query = select(RunRow).order_by(RunRow.as_of.desc(), RunRow.created_at.desc(), RunRow.id).limit(limit)
        if agent is not None:
            query = query.where(RunRow.agent == agent)
        if symbol is not None:
            query = query.where(RunRow.symbol == symbol)
        if since is not None:
            query = query.where(RunRow.as_of >= since)
        if until is not None:
            query = query.where(RunRow.as_of <= until)
        if states is not None:
            query = query.where(RunRow.state.in_(states))
        return self._with_calls(self._session.scalars(query.execution_options(populate_existing=True)))

    def unfinished_runs(self, *, older_than: timedelta) -> list[Run]:
        """Runs that were started at least so long ago and have not ended, oldest first."""
        query = select(RunRow).where(
            RunRow.state == RunState.STARTED, is_older(RunRow.created_at, older_than)
        )
        return self._with_calls(self._session.scalars(query.order_by(RunRow.created_at)))

    def failed_runs(self, *, within: timedelta, account: str | None = None) -> int:
        """How many runs failed within this wall time up to now.

        Of an ACTIVE account, only since somebody set it so: what was looked into counts no more.
        """
        since = func.greatest(func.clock_timestamp() - within, activated_at(account))
        query = select(func.count()).where(RunRow.state == RunState.FAILED, RunRow.finished_at > since)
        return self._session.scalar(query) or 0

    def _with_calls(self, rows: Iterable[RunRow]) -> list[Run]:
        found_rows = list(rows)
        query = select(ModelCallRow).where(ModelCallRow.run_id.in_([row.id for row in found_rows]))
        calls = self._session.scalars(query.order_by(ModelCallRow.run_id, ModelCallRow.attempt))
        of_run = {
            run_id: tuple(_call(row) for row in group)
            for run_id, group in groupby(calls, lambda call: call.run_id)
        }
        return [
            record_of(Run, row, fact_ids=tuple(row.fact_ids), calls=of_run.get(row.id, ()))
            for row in found_rows
        ]

    @staticmethod
    def _check_end(stored: Run, ended: Run) -> None:
        if stored.state is not RunState.STARTED:
            names = differences(values_of(stored), values_of(ended))
            raise LedgerError(f"run {stored.key} has ended with another {names}: the first end stays")
        if ended.state is RunState.STARTED:
            raise LedgerError(f"run {stored.key} cannot end as started: give it its final state")
        if any(getattr(stored, name) != getattr(ended, name) for name in _IDENTITY):
            raise LedgerError(f"run {stored.id} was started as {stored.key}: finish that one")


def as_stored(run: Run) -> Run:
    """The run as it will be read back: JSON knows no tuples and no decimals."""
    if not (run.context or run.calls):
        return run
    calls = (
        replace(call, request=replace(call.request, json_schema=_plain(call.request.json_schema)))
        for call in run.calls
    )
    return replace(run, context=_plain(run.context), calls=tuple(calls))


def _plain(value: Any) -> Any:
    return json.loads(json_text(value))


def _call_row(run_id: UUID, call: ModelCall) -> ModelCallRow:
    request, completion = values_of(call.request), values_of(call.completion)
    request["messages"] = [values_of(message) for message in call.request.messages]
    identity = values_of(completion.pop("model"))
    return ModelCallRow(
        run_id=run_id,
        attempt=call.attempt,
        **request,
        **completion,
        **{f"model_{name}": value for name, value in identity.items()},
    )


def _call(row: ModelCallRow) -> ModelCall:
    messages = tuple(Message(**message) for message in row.messages)
    identity = ModelIdentity(
        name=row.model_name,
        backend=row.model_backend,
        sha256=row.model_sha256,
        build=row.model_build,
        context_length=row.model_context_length,
        threads=row.model_threads,
        batch=row.model_batch,
    )
    return ModelCall(
        attempt=row.attempt,
        request=record_of(CompletionRequest, row, messages=messages),
        completion=record_of(Completion, row, model=identity),
    )
