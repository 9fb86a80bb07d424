"""What people and metrics ask of the ledger as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute

from alina.db.tables import (
    AccountRow,
    DecisionRow,
    EvaluationRow,
    FillRow,
    ForeignOrderRow,
    MismatchRow,
    ModelCallRow,
    OrderRow,
    PositionRow,
    ProposalRow,
    RunRow,
    SystemStateRow,
)
from alina.domain.decisions import Decision, Proposal, ReasonCode
from alina.domain.orders import Handling, LedgerOrder, OrderState
from alina.domain.portfolio import TradingState
from alina.domain.records import Record
from alina.domain.runs import Run, RunState
from alina.ledger.decisions import decision_of_row
from alina.ledger.orders import order_of_row
from alina.ledger.part import record_of
from alina.ledger.runs import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionTrail(Record):
    """One decision with what led to it and what came of it."""

    decision: Decision
    proposal: Proposal
    #: None: denied, or not claimed yet
    order: LedgerOrder | None
    #: None: a protective exit, which no run decided
    run: Run | None


class Reports(Runs):
    """The reports' part of the ledger."""

    def decisions(self, *, limit: int, symbol: str | None = None) -> list[DecisionTrail]:
        """Decisions with their trail, newest first."""
        query = (
            select(DecisionRow, ProposalRow, OrderRow, RunRow)
            .join(ProposalRow, ProposalRow.id == DecisionRow.proposal_id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .outerjoin(RunRow, RunRow.id == ProposalRow.run_id)
            .order_by(DecisionRow.created_at.desc(), DecisionRow.decided_at.desc(), DecisionRow.id)
            .limit(limit)
        )
        if symbol is not None:
            query = query.where(ProposalRow.symbol == symbol)
        rows = self._session.execute(query.execution_options(populate_existing=True)).all()
        runs = {run.id: run for run in self._with_calls(row[3] for row in rows if row[3] is not None)}
        return [
            DecisionTrail(
                decision=decision_of_row(decision),
                proposal=record_of(Proposal, proposal),
                order=order_of_row(order) if order is not None else None,
                run=runs[run.id] if run is not None else None,
            )
            for decision, proposal, order, run in rows
        ]

    def counts(self) -> dict[str, int]:
        """Totals for metrics, every known label present.

        `runs:STATE`, `decisions:VERDICT`, `denials:REASON`, `orders:STATE`, `tokens:prompt`,
        `tokens:completion`, `proposals`, `fills`, `open_positions`, `closed_trades`, `evaluations`,
        `foreign_orders:HANDLING`, `reconciliation_mismatches` (each as often as it was seen),
        `trading_state:system` and `trading_state:account NAME` (0 ACTIVE, 1 REDUCING, 2 HALTED).
        """
        runs = self._by(RunRow.state, RunState)
        verdicts = self._by(DecisionRow.verdict, ("approved", "denied", "needs_approval"))
        reasons = self._by(DecisionRow.reason, ReasonCode)
        orders = self._by(OrderRow.state, OrderState)
        foreign = self._by(ForeignOrderRow.handling, Handling)
        return {
            **{f"runs:{state.value}": count for state, count in runs.items()},
            **{f"decisions:{verdict}": count for verdict, count in verdicts.items()},
            **{f"denials:{reason.name}": count for reason, count in reasons.items()},
            **{f"orders:{state.value}": count for state, count in orders.items()},
            **{f"foreign_orders:{handling.value}": count for handling, count in foreign.items()},
            "reconciliation_mismatches": self._total(MismatchRow.times),
            "proposals": self._count(ProposalRow.id),
            "fills": self._count(FillRow.trade_id),
            "open_positions": self._count(PositionRow.id, PositionRow.closed_at.is_(None)),
            "closed_trades": self._count(PositionRow.closed_at),
            "evaluations": self._count(EvaluationRow.position_id),
            **self._states(),
            "tokens:prompt": self._total(ModelCallRow.prompt_tokens),
            "tokens:completion": self._total(ModelCallRow.completion_tokens),
        }

    def _states(self) -> dict[str, int]:
        accounts = self._session.execute(select(AccountRow.name, AccountRow.trading_state))
        states = {f"trading_state:account {name}": state.strictness for name, state in accounts}
        system = self._session.scalar(select(SystemStateRow.trading_state)) or TradingState.HALTED
        return {"trading_state:system": system.strictness, **states}

    def latencies_ms(self, *, limit: int = 1000) -> list[Decimal]:
        """Wall milliseconds from proposal to the exchange's acknowledgement, newest order first."""
        elapsed = func.extract("epoch", OrderRow.acknowledged_at - ProposalRow.created_at) * 1000
        query = (
            select(elapsed)
            .join_from(OrderRow, DecisionRow, DecisionRow.id == OrderRow.decision_id)
            .join(ProposalRow, ProposalRow.id == DecisionRow.proposal_id)
            .where(OrderRow.acknowledged_at.is_not(None))
            .order_by(OrderRow.acknowledged_at.desc())
            .limit(limit)
        )
        return list(self._session.scalars(query))

    def _by(self, column: InstrumentedAttribute[Any], labels: Iterable[Any]) -> dict[Any, int]:
        query = select(column, func.count()).group_by(column)
        found = {row[0]: row[1] for row in self._session.execute(query)}
        return {label: found.get(label, 0) for label in labels}

    def _count(self, column: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> int:
        return self._session.scalar(select(func.count(column)).where(*conditions)) or 0

    def _total(self, column: InstrumentedAttribute[int]) -> int:
        return int(self._session.scalar(select(func.sum(column))) or 0)
