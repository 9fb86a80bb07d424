"""Keeps ALINA's processes running: starts them in order, restarts the dead and the stalled, stops them all.

One supervisor a data folder, under the folder's lock. What it runs, it can lose at any moment: children are
told by the kernel when it dies, and the next start ends what they left.
"""

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import psutil
import structlog

from alina.embedded.folder import DataFolder
from alina.embedded.lock import PidLock
from alina.errors import SystemStateError
from alina.orchestrator.processes import Child, ProcessSpec, end_leftovers, is_child
from alina.orchestrator.restarts import QueueState, RestartPolicy, StallWatch

_TICK = 0.2  # seconds
_TABLE = "run/processes.json"
_log = structlog.get_logger(__name__)


class Supervisor:
    """Runs until SIGTERM or SIGINT.

    `queue_probe` reads every queue (it must time out by itself); a worker that has taken nothing for
    `stalled_after` while messages wait is restarted. `revive` starts embedded servers that have died and
    names them. Either may raise: that is logged, and tried again.
    """

    def __init__(
        self,
        folder: DataFolder,
        specs: Sequence[ProcessSpec],
        *,
        stalled_after: timedelta,
        queue_probe: Callable[[], Mapping[str, QueueState]] = dict,
        revive: Callable[[], Sequence[str]] = tuple,
        policy: RestartPolicy = RestartPolicy(),  # noqa: B008 - frozen
        look_every: float = 5.0,
    ) -> None:
        self._folder = folder
        self._children = [Child(spec, folder) for spec in specs]
        self._watch = StallWatch(stalled_after)
        self._queue_probe = queue_probe
        self._revive = revive
        self._policy = policy
        self._look_every = look_every
        self._stopping = False

    def run(self) -> None:
        """Start everything, keep it running, and leave nothing behind. To be called in the main thread.

        The folder's lock must be held.
        """
        before = {which: signal.signal(which, self._stop) for which in (signal.SIGTERM, signal.SIGINT)}
        try:
            if left := end_leftovers(self._folder):
                _log.warning("ended what an earlier supervisor left", pids=left)
            for child in self._children:
                self._start(child)
            self._keep_running()
        finally:
            self._end_all()
            for which, handler in before.items():
                signal.signal(which, handler)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _keep_running(self) -> None:
        next_look = 0.0
        while not self._stopping:
            for child in self._children:
                self._look_after(child)
            if time.monotonic() >= next_look:
                self._revive_servers()
                self._restart_stalled()
                next_look = time.monotonic() + self._look_every
            time.sleep(_TICK)

    def _look_after(self, child: Child) -> None:
        """One step in a child's life: notice its end, kill it when its grace is over, start it when due."""
        child.bound_log()
        if child.kill_if_due():
            _log.warning("process killed: it did not end when asked", process=child.spec.name)
        code = child.ended()
        if code is not None:
            self._ended(child, f"exit code {code}", lived=child.lived())
        elif child.pid is None and time.monotonic() >= child.start_due:
            child.restarts += 1
            self._start(child)

    def _ended(self, child: Child, reason: str, *, lived: float) -> None:
        child.failures = self._policy.failures_after(child.failures, lived=lived)
        delay = self._policy.delay(child.failures)
        child.start_due = time.monotonic() + delay
        _log.warning("process ended", process=child.spec.name, reason=reason, restart_in_seconds=delay)
        self._write_table()

    def _start(self, child: Child) -> None:
        try:
            child.start()
        except OSError as error:  # no memory, no disk, too many processes: as if it had died at once
            self._ended(child, str(error), lived=0.0)
            return
        _log.info("process started", process=child.spec.name, pid=child.pid, restarts=child.restarts)
        self._write_table()

    def _revive_servers(self) -> None:
        try:
            for name in self._revive():
                _log.warning("embedded server had died and was started again", server=name)
        except Exception:
            _log.exception("embedded server not started: trying again", seconds=self._look_every)

    def _restart_stalled(self) -> None:
        try:
            queues = self._queue_probe()
        except Exception as error:
            _log.warning("queues cannot be read", error=str(error))
            return
        for child in self._children:
            state = queues.get(child.spec.queue or "")
            if state and self._is_stalled(child, state):
                _log.warning(
                    "worker restarted: messages wait and it starts none",
                    process=child.spec.name,
                    queue=child.spec.queue,
                    waiting=state.waiting,
                    last_started=state.last_started,
                )
                child.ask_to_end()

    def _is_stalled(self, child: Child, state: QueueState) -> bool:
        if child.pid is None or child.started_at is None or child.ending:
            return False
        queue, now = child.spec.queue or "", datetime.now(UTC)
        return self._watch.is_stalled(queue, state, worker_since=child.started_at, now=now)

    def _end_all(self) -> None:
        """Ask all at once, last started first, then wait: the stop takes as long as the slowest."""
        for child in reversed(self._children):
            child.ask_to_end()
        while any(child.pid for child in self._children):
            for child in self._children:
                if child.kill_if_due():
                    _log.warning("process killed: it did not end when asked", process=child.spec.name)
                if (code := child.ended()) is not None:
                    _log.info("process ended", process=child.spec.name, code=code)
            time.sleep(_TICK / 4)
        end_leftovers(self._folder)  # what has left its group
        self._write_table()

    def _write_table(self) -> None:
        rows = [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "started_at": child.started_at.isoformat() if child.started_at else None,
                "restarts": child.restarts,
            }
            for child in self._children
        ]
        try:
            self._folder.write(_TABLE, json.dumps(rows, indent=1))
        except OSError as error:  # a full disk must not stop the trading
            _log.warning("process table not written", error=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process as `alina status` shows it."""

    name: str
    pid: int | None
    alive: bool
    memory: int  # bytes of the process and its children: PSS where the kernel tells, else RSS
    restarts: int
    uptime: timedelta | None


def stop_supervisor(folder: DataFolder, *, timeout: float = 90.0) -> bool:
    """Ask the supervisor to end and wait for it. False when none was running.

    Raises SystemStateError when it has not ended after `timeout` seconds.
    """
    pid = folder.holder()
    if pid is None:
        return False
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if folder.holder() == pid:  # the handle above is the holder's, whatever happens to the pid now
            process.terminate()
    deadline = time.monotonic() + timeout
    while folder.holder() == pid:
        if time.monotonic() > deadline:
            raise SystemStateError(
                f"ALINA (pid {pid}) still stops after {timeout:.0f} s: "
                f"run `alina down` again, or look in {folder.path}/logs"
            )
        time.sleep(_TICK)
    return True


def process_table(folder: DataFolder) -> list[ProcessStatus]:
    """The supervisor, its children and the embedded servers; those that do not run too, once they did."""
    supervisor = _status("supervisor", folder.holder(), with_children=False)
    servers = [_status(path.stem, PidLock(path).holder()) for path in sorted(folder.path.glob("run/*.pid"))]
    return [supervisor, *servers, *(_child_status(folder, row) for row in _read_table(folder))]


def _read_table(folder: DataFolder) -> list[dict[str, Any]]:
    with suppress(FileNotFoundError):
        return list(json.loads((folder.path / _TABLE).read_text(encoding="utf-8")))
    return []


def _child_status(folder: DataFolder, row: Mapping[str, Any]) -> ProcessStatus:
    pid = row["pid"]
    with suppress(psutil.NoSuchProcess):
        if pid is not None and is_child(psutil.Process(pid), folder):
            return _status(row["name"], pid, restarts=row["restarts"])
    return _status(row["name"], None, restarts=row["restarts"])


def _status(name: str, pid: int | None, *, restarts: int = 0, with_children: bool = True) -> ProcessStatus:
    memory, uptime = 0, None
    with suppress(psutil.NoSuchProcess):
        if pid is not None:
            process = psutil.Process(pid)
            children = process.children(recursive=True) if with_children else []
            memory = sum(_memory(one) for one in (process, *children))
            uptime = timedelta(seconds=max(0.0, time.time() - process.create_time()))
    return ProcessStatus(
        name=name, pid=pid, alive=uptime is not None, memory=memory, restarts=restarts, uptime=uptime
    )


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
