"""Tasks that touch orders. Messages carry an id and nothing else that matters."""

from uuid import UUID

from alina.orchestrator import execution, reconciliation, stops, sweeping, winding_down
from workers.app import TRANSIENT, app, executor, runtime


@app.task(name="trading.execute_proposal", **TRANSIENT)
def execute_proposal(proposal_id: str) -> str:
    """Decide and carry out one proposal. Safe to repeat: one decision, one order. Returns the verdict."""
    return execution.execute(executor(), UUID(proposal_id)).verdict


@app.task(name="trading.protect", **TRANSIENT)
def protect() -> None:
    """See to the stop of every open position. Safe to repeat."""
    stops.protect(executor())


@app.task(name="trading.reconcile", **TRANSIENT)
def reconcile() -> list[str]:
    """Settle open orders, record equity, compare the books. Returns the differences."""
    return reconciliation.reconcile(executor())


@app.task(name="trading.wind_down", **TRANSIENT)
def wind_down() -> list[str]:
    """Do what `alina halt --cancel` or `--flatten` asked for. Safe to repeat. Returns what remains."""
    return winding_down.wind_down(executor())


@app.task(name="trading.sweep", **TRANSIENT)
def sweep() -> int:
    """Send again what is stuck. Returns how many tasks were sent."""
    return sweeping.sweep(runtime())
