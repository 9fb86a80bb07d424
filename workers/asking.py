"""Tasks that put a person's question to the model."""

from typing import Any
from uuid import UUID

from celery import Task

from alina.orchestrator import asking
from workers.app import AFTER_A_DEATH, TRANSIENT, app, runtime


@app.task(name="asking.ask", bind=True, default_retry_delay=AFTER_A_DEATH, **TRANSIENT)
def ask(self: "Task[Any, Any]", question: str) -> dict[str, str | int]:
    """The answer, told on the stream of this task's id while it is written. Safe to repeat."""
    return asking.ask(runtime(), question, answer_id=UUID(str(self.request.id))).to_json()
