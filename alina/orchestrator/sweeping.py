"""Finds every row that should have moved on and sends it again. The broker may lose everything."""

from collections.abc import Callable
from typing import Any

import structlog

from alina.domain.evaluation import ExperimentState
from alina.domain.portfolio import WindDown
from alina.errors import TransientError
from alina.orchestrator.runtime import Runtime, UnitOfWork

log = structlog.get_logger(__name__)

#: a task and its arguments
Message = tuple[Any, ...]
Search = Callable[[Runtime, UnitOfWork], list[Message]]


def sweep(runtime: Runtime) -> int:
    """Send again what is stuck for `error_handling.stuck_after`; every task is safe to repeat.

    Returns the number of tasks sent. Orders in flight are not sent: `trading.reconcile` asks for their fate.
    """
    sent = 0
    for search in (_runs, _proposals, _wind_down, _trades, _experiments):
        for message in _stuck(runtime, search):
            runtime.send(*message)
            sent += 1
    return sent


def _stuck(runtime: Runtime, search: Search) -> list[Message]:
    """What one search finds. Agents write some of the rows: one that cannot be read keeps no other kind."""
    try:
        with runtime.unit_of_work() as uow:
            return search(runtime, uow)
    except TransientError:
        raise
    except Exception:  # what a row that was not written by us does when it is read
        log.exception("not swept", search=search.__name__)
        return []


def _wind_down(runtime: Runtime, uow: UnitOfWork) -> list[Message]:
    wished = uow.ledger.account(runtime.account).wind_down is not WindDown.NONE
    return [("trading.wind_down",)] if wished else []


def _proposals(runtime: Runtime, uow: UnitOfWork) -> list[Message]:
    stuck_after = runtime.settings.error_handling.stuck_after
    proposals = {
        *uow.ledger.undecided_proposals(older_than=stuck_after),
        *uow.ledger.approved_without_order(older_than=stuck_after),
        # answered or not: only the executor knows by the market's time whether one is too late
        *(approval.proposal_id for approval in uow.ledger.open_approvals()),
    }
    ours = (one for one in proposals if uow.ledger.proposal(one).account == runtime.account)
    return [("trading.execute_proposal", str(one)) for one in ours]


def _trades(_: Runtime, uow: UnitOfWork) -> list[Message]:
    return [("learning.evaluate", str(trade.id)) for trade in uow.ledger.unevaluated_trades()]


def _runs(runtime: Runtime, uow: UnitOfWork) -> list[Message]:
    # A run may take as long as its task may: sent earlier, it would only run twice.
    runs = uow.ledger.unfinished_runs(older_than=runtime.settings.execution.task_time_limit)
    return [("market.run_cycle", run.agent, run.symbol, run.as_of.isoformat(), run.key) for run in runs]


def _experiments(_: Runtime, uow: UnitOfWork) -> list[Message]:
    running = (one for one in uow.ledger.experiments(limit=20) if one.state is ExperimentState.RUNNING)
    return [("learning.advance_experiment", prompt) for prompt in {one.prompt for one in running}]
