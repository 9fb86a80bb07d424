"""The registry's table: which models there are, which one is asked, and how well each did."""

import re
from dataclasses import asdict, fields
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from alina.db.tables import ModelRow
from alina.domain.models import Measurement, ModelFacts, ModelState, RegisteredModel
from alina.errors import ConfigError, ModelUnavailable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FACTS = tuple(field.name for field in fields(ModelFacts))


class ModelCatalogue:
    """The only writer of the table `models`. Writes through the session and never commits.

    A model is named NAME@VERSION, or NAME for its newest version.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, name: str, facts: ModelFacts, *, parent: str | None = None) -> RegisteredModel:
        """A new candidate; the version of this name with the same file and source, if there is one.

        Without a parent it descends from the newest version of its name. Raises ModelUnavailable for an
        unknown parent, ConfigError for a name that no command could tell from a version.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a model: use letters, digits, dots, dashes and _")
        self._lock()
        versions = self._versions(name)
        known = [row for row in versions if (row.source, row.sha256) == (facts.source, facts.sha256)]
        if known:
            return _record(known[0])
        row = ModelRow(
            id=uuid4(),
            name=name,
            version=versions[0].version + 1 if versions else 1,
            state=ModelState.CANDIDATE,
            parent_id=self._row(parent).id if parent else versions[0].id if versions else None,
            **asdict(facts),
        )
        self._session.add(row)
        self._session.flush()
        self._session.refresh(row)
        return _record(row)

    def every(self) -> list[RegisteredModel]:
        """All of them, by name, newest version first."""
        rows = self._session.scalars(select(ModelRow).order_by(ModelRow.name, ModelRow.version.desc()))
        return [_record(row) for row in rows]

    def get(self, title: str) -> RegisteredModel:
        """The model of this title. Raises ModelUnavailable."""
        return _record(self._row(title))

    def active(self) -> RegisteredModel | None:
        """The one that agents ask; None: `models.default` of the settings."""
        row = self._session.scalar(select(ModelRow).where(ModelRow.state == ModelState.ACTIVE))
        return None if row is None else _record(row)

    def of_file(self, sha256: str) -> RegisteredModel | None:
        """A model whose file has this hash: a replay looks for the one that decided."""
        query = select(ModelRow).where(ModelRow.sha256 == sha256).order_by(ModelRow.added_at.desc())
        row = self._session.scalars(query.limit(1)).first()
        return None if row is None else _record(row)

    def activate(self, title: str) -> RegisteredModel:
        """Ask this one from the next task on; the one before becomes a candidate again."""
        self._lock()
        row = self._row(title)
        for before in self._session.scalars(select(ModelRow).where(ModelRow.state == ModelState.ACTIVE)):
            before.state = ModelState.CANDIDATE
        self._session.flush()
        return self._moved(row, ModelState.ACTIVE)

    def retire(self, title: str) -> RegisteredModel:
        """Keep it for what it decided only. Without an active model, `models.default` is asked."""
        self._lock()
        return self._moved(self._row(title), ModelState.RETIRED)

    def save_measurement(self, model_id: UUID, measured: Measurement) -> None:
        """Replace what was measured before."""
        row = self._session.get_one(ModelRow, model_id, with_for_update=True)
        for name, value in _columns(measured).items():
            setattr(row, name, value)
        self._session.flush()

    def _lock(self) -> None:
        """One writer at a time: versions are given out, and one model at most is active."""
        self._session.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))

    def _moved(self, row: ModelRow, state: ModelState) -> RegisteredModel:
        row.state = state
        self._session.flush()
        return _record(row)

    def _versions(self, name: str) -> list[ModelRow]:
        query = select(ModelRow).where(ModelRow.name == name).order_by(ModelRow.version.desc())
        return list(self._session.scalars(query))

    def _row(self, title: str) -> ModelRow:
        name, _, version = title.partition("@")
        for row in self._versions(name):
            if version in ("", str(row.version)):
                return row
        raise ModelUnavailable(f"no model {title} is registered: `alina models list` shows the names")


def _record(row: ModelRow) -> RegisteredModel:
    return RegisteredModel(
        id=row.id,
        name=row.name,
        version=row.version,
        facts=ModelFacts(**{name: getattr(row, name) for name in _FACTS}),
        state=row.state,
        parent_id=row.parent_id,
        measured=_measured(row),
        added_at=row.added_at,
    )


def _columns(measured: Measurement) -> dict[str, Any]:
    values = asdict(measured)
    return {"measured_at": values.pop("at"), **values}


def _measured(row: ModelRow) -> Measurement | None:
    if row.measured_at is None:
        return None
    names = [field.name for field in fields(Measurement) if field.name != "at"]
    return Measurement(at=row.measured_at, **{name: getattr(row, name) for name in names})
