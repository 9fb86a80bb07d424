"""Every table, on one metadata: `Base.metadata`."""

from alina.db.tables.accounts import AccountRow, BalanceRow, EquityRow, NewPeakRow, SystemStateRow
from alina.db.tables.base import Base
from alina.db.tables.learning import EvaluationRow, ExperimentCaseRow, ExperimentRow
from alina.db.tables.market import EMBEDDING_DIMENSIONS, CandleRow, FactRow
from alina.db.tables.models import ModelRow
from alina.db.tables.runs import AgentRow, ModelCallRow, PromptRevisionRow, PromptRow, RunRow
from alina.db.tables.spending import ModelSpendingRow
from alina.db.tables.trading import (
    ApprovalRow,
    DecisionRow,
    FillRow,
    ForeignOrderRow,
    MismatchRow,
    OrderRow,
    PositionRow,
    ProposalRow,
    ReservationRow,
)

__all__ = [
    "EMBEDDING_DIMENSIONS",
    "AccountRow",
    "AgentRow",
    "ApprovalRow",
    "BalanceRow",
    "Base",
    "CandleRow",
    "DecisionRow",
    "EquityRow",
    "EvaluationRow",
    "ExperimentCaseRow",
    "ExperimentRow",
    "FactRow",
    "FillRow",
    "ForeignOrderRow",
    "MismatchRow",
    "ModelCallRow",
    "ModelRow",
    "ModelSpendingRow",
    "NewPeakRow",
    "OrderRow",
    "PositionRow",
    "PromptRevisionRow",
    "PromptRow",
    "ProposalRow",
    "ReservationRow",
    "RunRow",
    "SystemStateRow",
]
