"""Calls to models, counted in Postgres: workers see what the others spend, and a restart forgets nothing."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.orm import Session

from alina.db.tables import ModelSpendingRow
from alina.domain.records import Record
from alina.llm.budget import Call, Spent, Totals

#: of the advisory lock under which calls are reserved; held for a sum and an insert
_LOCK = 0x6D6F6465


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentBy(Record):
    """What one agent's calls to one model took."""

    agent: str
    model: str
    #: calls that run now or ended unknown: each is counted at its most
    unsettled: int
    spent: Spent


class PostgresSpending:
    """The Spending that all processes share. Each method is a transaction of its own."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Session]]) -> None:
        self._transaction = transaction

    def reserve(self, call: Call, check: Callable[[Totals], None]) -> None:
        """Raises what `check` raises, and DatabaseUnavailable."""
        with self._transaction() as session:
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            check(_totals(session, call))
            session.add(
                ModelSpendingRow(
                    id=call.id,
                    run_id=call.purpose.run_id,
                    agent=call.purpose.agent,
                    model=call.model[:200],
                    day=call.day,
                    is_settled=False,
                    **_columns(call.most),
                )
            )

    def settle(self, call_id: UUID, spent: Spent) -> None:
        """Raises DatabaseUnavailable."""
        changed = update(ModelSpendingRow).where(ModelSpendingRow.id == call_id)
        with self._transaction() as session:
            session.execute(changed.values(is_settled=True, **_columns(spent)))

    def of_day(self, day: date) -> list[SpentBy]:
        """Who spent what on this UTC day, by agent and model. Raises DatabaseUnavailable."""
        row = ModelSpendingRow
        who, open_calls = (row.agent, row.model), func.count().filter(row.is_settled.is_(False))
        query = select(*who, open_calls, *_sums(row.day == day)).where(row.day == day)
        with self._transaction() as session:
            found = session.execute(query.group_by(*who).order_by(*who)).all()
        return [
            SpentBy(agent=agent, model=model, unsettled=unsettled, spent=_spent(sums))
            for agent, model, unsettled, *sums in found
        ]


def _columns(spent: Spent) -> dict[str, Any]:
    return {"tokens": spent.tokens, "calls": spent.calls, "seconds": spent.seconds, "money": spent.money}


def _totals(session: Session, call: Call) -> Totals:
    row = ModelSpendingRow
    of_run, of_day = row.run_id == call.purpose.run_id, row.day == call.day
    scopes = (of_run, of_day & (row.agent == call.purpose.agent), of_day)
    sums = [each for scope in scopes for each in _sums(scope)]
    found = session.execute(select(*sums).where(or_(of_day, of_run))).one()
    run, agent, day = (_spent(found[start : start + 4]) for start in (0, 4, 8))
    return Totals(run=run, agent=agent, day=day)


def _sums(scope: ColumnElement[bool]) -> list[ColumnElement[Any]]:
    row = ModelSpendingRow
    columns = (row.tokens, row.calls, row.seconds, row.money)
    return [func.coalesce(func.sum(each).filter(scope), 0) for each in columns]


def _spent(sums: Sequence[Any]) -> Spent:
    tokens, calls, seconds, money = sums
    return Spent(tokens=int(tokens), calls=int(calls), seconds=Decimal(seconds), money=Decimal(money))
