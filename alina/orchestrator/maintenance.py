"""Housekeeping: what has served its time goes, what explains a trade stays."""

from alina.orchestrator.runtime import Runtime


def maintain(runtime: Runtime) -> dict[str, int]:
    """Drop facts superseded longer ago than `memory.retention` (market time). Returns what was dropped."""
    before = runtime.clock.now() - runtime.settings.memory.retention
    with runtime.unit_of_work() as uow:
        return {"facts": uow.memory.forget_superseded(before=before)}
