"""Tasks that learn from what was traded."""

from uuid import UUID

from alina.orchestrator import learning
from workers.app import TRANSIENT, app, runtime

#: model calls a task: short enough for its time limit on a slow machine
CASES_AT_ONCE = 8


@app.task(name="learning.evaluate", **TRANSIENT)
def evaluate(position_id: str) -> str:
    """Score one closed trade. Safe to repeat: one evaluation a trade."""
    return str(learning.evaluate(runtime(), UUID(position_id)).score)


@app.task(name="learning.advance_experiment", **TRANSIENT)
def advance_experiment(agent: str | None = None) -> dict[str, str]:
    """Start or continue the experiment of one agent, or of all. The sweeper sends it again while it runs."""
    parts = runtime()
    if not parts.settings.self_optimization.enabled:
        return {}
    states = {}
    for name in [agent] if agent else parts.agents:
        experiment = learning.advance(parts, name, cases_at_once=CASES_AT_ONCE)
        states[name] = experiment.state.value if experiment else "nothing to do"
    return states
