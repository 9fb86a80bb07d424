"""The queues, which task goes where, and the Celery settings that every process shares.

Producers and workers must agree on these: the shortest visibility timeout of any client wins.
"""

from celery import Celery

from alina.config import Settings

INFERENCE, EXECUTION, DEFAULT = "inference", "execution", "default"
QUEUES = (INFERENCE, EXECUTION, DEFAULT)

ROUTES = {
    "market.run_cycle": {"queue": INFERENCE},
    "learning.advance_experiment": {"queue": INFERENCE},
    "trading.execute_proposal": {"queue": EXECUTION},
    "trading.reconcile": {"queue": EXECUTION},
}


def started_key(queue: str) -> str:
    """The Redis key that holds when a task of this queue last began (ISO, UTC)."""
    return f"alina:started:{queue}"


def make_celery(settings: Settings, *, database_url: str, redis_url: str) -> Celery:
    """A Celery app on this broker and result backend, without tasks.

    Late acks and a visibility timeout above the longest task: nothing is lost, so any task may run twice.
    """
    app = Celery("alina", broker=redis_url, backend=f"db+{database_url}")
    limit = int(settings.execution.task_time_limit.total_seconds())
    app.conf.update(
        task_default_queue=DEFAULT,
        task_routes=ROUTES,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
        task_acks_late=True,
        task_retry_on_worker_lost=True,
        task_reject_on_worker_lost=True,
        task_acks_on_timeout=True,
        task_track_started=True,
        task_time_limit=limit,
        task_soft_time_limit=int(settings.execution.task_soft_time_limit.total_seconds()),
        result_expires=24 * 3600,
        database_create_tables_at_setup=False,  # alembic makes them
        database_engine_options={"pool_pre_ping": True},
        broker_transport_options={
            "visibility_timeout": 2 * limit,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,
        worker_max_tasks_per_child=10_000,
        worker_soft_shutdown_timeout=settings.execution.soft_shutdown.total_seconds(),
        worker_enable_soft_shutdown_on_idle=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
    )
    return app
