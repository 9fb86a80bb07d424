"""Scores closed trades and answers. Plain arithmetic: no model judges a model here."""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from alina.domain.evaluation import Evaluation
from alina.domain.portfolio import Position


def score_return(return_fraction: Decimal, *, scale: Decimal) -> Decimal:
    """0 for a loss of `scale` or more, 0.5 for nothing, 1 for a gain of `scale` or more; linear between."""
    score = (1 + return_fraction / scale) / 2
    return min(max(score, Decimal(0)), Decimal(1)).quantize(Decimal("0.0001"))


def evaluate(position: Position, *, run_id: UUID | None, scale: Decimal, at: datetime) -> Evaluation:
    """The evaluation of a closed position: its return after fees against `scale`."""
    pnl = position.realised_pnl
    return_fraction = pnl / position.cost
    held = timedelta(seconds=round(((position.closed_at or at) - position.opened_at).total_seconds()))
    reason = position.close_reason.value if position.close_reason else "unknown"
    return Evaluation(
        position_id=position.id,
        run_id=run_id,
        score=score_return(return_fraction, scale=scale),
        pnl=pnl,
        return_fraction=return_fraction,
        explanation=f"closed by {reason} after {held}, {return_fraction:+.2%} after fees",
        evaluated_at=at,
    )


def trade_fact(position: Position, evaluation: Evaluation) -> str:
    """One sentence for the memory, from figures only."""
    return (
        f"{position.symbol}: bought {position.opened_at:%Y-%m-%d %H:%M} at {position.average_price:.2f}, "
        f"{evaluation.explanation}, result {evaluation.pnl:+.2f}"
    )
