"""Finds every row that should have moved on and sends it again. The broker may lose everything."""

from alina.domain.evaluation import ExperimentState
from alina.domain.portfolio import WindDown
from alina.orchestrator.runtime import Runtime


def sweep(runtime: Runtime) -> int:
    """Send again what is stuck for `error_handling.stuck_after`; every task is safe to repeat.

    Returns the number of tasks sent. Orders in flight are not sent: `trading.reconcile` asks for their fate.
    """
    stuck_after = runtime.settings.error_handling.stuck_after
    with runtime.unit_of_work() as uow:
        # A run may take as long as its task may: sent earlier, it would only run twice.
        runs = uow.ledger.unfinished_runs(older_than=runtime.settings.execution.task_time_limit)
        proposals = {
            *uow.ledger.undecided_proposals(older_than=stuck_after),
            *uow.ledger.approved_without_order(older_than=stuck_after),
            # answered or not: only the executor knows by the market's time whether one is too late
            *(approval.proposal_id for approval in uow.ledger.open_approvals()),
        }
        proposals = {one for one in proposals if uow.ledger.proposal(one).account == runtime.account}
        trades = uow.ledger.unevaluated_trades()
        wind_down = uow.ledger.account(runtime.account).wind_down is not WindDown.NONE
        experiments = [
            e.prompt for e in uow.ledger.experiments(limit=20) if e.state is ExperimentState.RUNNING
        ]
    for run in runs:
        runtime.send("market.run_cycle", run.agent, run.symbol, run.as_of.isoformat(), run.key)
    for proposal_id in proposals:
        runtime.send("trading.execute_proposal", str(proposal_id))
    if wind_down:
        runtime.send("trading.wind_down")
    for trade in trades:
        runtime.send("learning.evaluate", str(trade.id))
    for agent in set(experiments):
        runtime.send("learning.advance_experiment", agent)
    return len(runs) + len(proposals) + wind_down + len(trades) + len(set(experiments))
