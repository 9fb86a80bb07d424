"""Tasks that look after the system itself."""

from alina.orchestrator import health, maintenance
from workers.app import TRANSIENT, app, runtime


@app.task(name="system.check_health", **TRANSIENT)
def check_health() -> dict[str, str]:
    """Part -> "ok ..." or its fault."""
    return health.check(runtime())


@app.task(name="system.maintain", **TRANSIENT)
def maintain() -> dict[str, int]:
    """Drop what nobody needs any more: expired task results and long superseded facts."""
    app.backend.cleanup()
    return maintenance.maintain(runtime())
