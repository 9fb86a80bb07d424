"""What a running system says of itself, part by part; a part that does not answer is named."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from alina.cli.broker import Answer, Broker
from alina.config import Settings
from alina.domain.portfolio import AccountState, NewPeak, Position
from alina.embedded.folder import DataFolder
from alina.errors import AlinaError
from alina.orchestrator.halting import is_stopped
from alina.orchestrator.supervisor import ProcessStatus, process_table

_SERVERS = frozenset({"postgres", "redis", "venue"})  # they start before the table of processes is written


@dataclass(slots=True, kw_only=True)
class SystemStatus:
    """The state of one data folder's system."""

    #: the supervisor lives
    running: bool = False
    #: it lives, and so does every process it should run
    ready: bool = False
    processes: list[ProcessStatus] = field(default_factory=list)
    #: queue -> messages that no worker has taken
    waiting: dict[str, int] = field(default_factory=dict)
    account: AccountState | None = None
    #: since which drawdown and the day's loss are counted; None: nobody ever began one
    new_peak: NewPeak | None = None
    #: the stop-file is there: nothing is sent, whatever the account's state
    stopped_by_file: bool = False
    positions: list[Position] = field(default_factory=list)
    market_time: datetime | None = None
    #: what the last health check found: part -> "ok ..." or its fault
    health: Answer | None = None
    #: the differences that the last reconciliation found
    reconciliation: Answer | None = None
    #: kept ports of Flower's page and of the metrics
    flower: str | None = None
    metrics: str | None = None
    #: part -> why it does not answer
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: all lives; 1: something is down; 3: nothing runs."""
        if not any(process.alive for process in self.processes):
            return 3
        return 0 if self.ready and not self.faults else 1


def read_status(settings: Settings) -> SystemStatus:
    """Look at everything once. Makes no folder, starts nothing, and raises nothing for what is down."""
    if not settings.data_folder.exists():
        return SystemStatus()
    folder = DataFolder(settings.data_folder)
    processes = [one for one in process_table(folder) if one.alive or one.name not in _foreign(settings)]
    status = SystemStatus(processes=processes)
    status.running = processes[0].alive
    status.stopped_by_file = is_stopped(settings.stop_file)
    children = [process for process in processes[1:] if process.name not in _SERVERS]
    status.ready = bool(children) and all(process.alive for process in processes)
    if status.running:
        _ask_the_parts(status, settings, folder)
    return status


def _foreign(settings: Settings) -> set[str]:
    """Servers that ran here once and now run elsewhere, or are not needed any more."""
    elsewhere = {
        "postgres": settings.database_url is not None,
        "redis": settings.redis_url is not None,
        "venue": settings.market.exchange.mode == "live",
    }
    return {name for name, is_elsewhere in elsewhere.items() if is_elsewhere}


def _ask_the_parts(status: SystemStatus, settings: Settings, folder: DataFolder) -> None:
    for name, look in (
        ("database", _look_at_ledger),
        ("broker", _look_at_queues),
        ("market", _look_at_clock),
    ):
        try:
            look(status, settings)
        except AlinaError as error:
            status.faults[name] = str(error)
    status.flower = _url(settings.monitoring.flower_port or folder.known_port("flower"))
    status.metrics = _url(settings.monitoring.metrics_port or folder.known_port("metrics"), "/metrics")


def _look_at_ledger(status: SystemStatus, settings: Settings) -> None:
    from alina.cli.database import open_ledger

    with open_ledger(settings) as ledger:
        name = settings.system.account
        status.account, status.new_peak = ledger.account(name), ledger.newest_peak(name)
        status.positions = ledger.open_positions(name)


def _look_at_queues(status: SystemStatus, settings: Settings) -> None:
    from alina import bootstrap
    from alina.queues import HEALTH, RECONCILIATION

    broker = Broker(bootstrap.broker_url(settings))
    status.waiting = {queue: state.waiting for queue, state in broker.queues().items()}
    status.health, status.reconciliation = broker.answered(HEALTH), broker.answered(RECONCILIATION)


def _look_at_clock(status: SystemStatus, settings: Settings) -> None:
    from alina import bootstrap

    status.market_time = bootstrap.make_clock(settings).now()


def _url(port: int | None, path: str = "") -> str | None:
    return f"http://127.0.0.1:{port}{path}" if port else None


def rows_of(status: SystemStatus) -> list[tuple[Any, ...]]:
    """The process table for people: memory in MB."""
    return [
        (
            one.name,
            one.pid,
            "yes" if one.alive else "NO",
            f"{one.memory / 1e6:.0f}" if one.alive else None,
            one.uptime,
            one.restarts,
        )
        for one in status.processes
    ]
