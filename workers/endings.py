"""The last word of tasks that cannot say it: their child died, their time was over, or they were revoked.

Celery tells of these in the worker's own process, and of all other failures in the child. Nothing here may
start a thread or connect to the database: the worker's process forks new children.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure, task_revoked

from alina.domain.runs import run_id_for
from alina.llm.streaming import tell_failure
from workers.app import publisher, redis_client, send
from workers.asking import ask
from workers.market import run_cycle, stop_run


@task_failure.connect
def end_failed(
    sender: Any,
    task_id: str,
    exception: BaseException,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    **_: Any,
) -> None:
    """End the stream of a task that is not tried again; and the run, unless a later try may do better."""
    is_over = isinstance(exception, SoftTimeLimitExceeded | TimeLimitExceeded)
    reason = "stopped: revoked, or longer than execution.task_soft_time_limit" if is_over else str(exception)
    _tell(sender.name, task_id, args, kwargs, reason)
    if isinstance(exception, TimeLimitExceeded | WorkerLostError):
        _stop(sender.name, task_id, args, kwargs)


@task_revoked.connect
def end_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    """End the stream and the run of a task that a person took back. What waited too long is sent again."""
    if not expired:
        _tell(sender.name, request.id, request.args, request.kwargs, "stopped: revoked")
        _stop(sender.name, request.id, request.args, request.kwargs)


def _tell(task: str, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], reason: str) -> None:
    if task == ask.name:
        stream_id = UUID(task_id)
    elif task == run_cycle.name:
        stream_id = run_id_for(_key(task_id, args, kwargs))
    else:
        return
    if publisher.cache_info().currsize:  # in the child, behind what it has told
        publisher().open(stream_id).fail(reason)
    else:
        tell_failure(redis_client(), stream_id, reason)


def _stop(task: str, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if task == run_cycle.name:
        send(stop_run.name, _key(task_id, args, kwargs))


def _key(task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Of a run, as `run_cycle` finds it."""
    return str((args[3] if len(args) > 3 else kwargs.get("key")) or task_id)
