"""The supervisor with small real children: they die, stall, refuse to end, and lose their supervisor."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from alina.embedded.folder import DataFolder
from alina.errors import SystemStateError
from alina.orchestrator import tether
from alina.orchestrator.processes import end_leftovers, is_child
from alina.orchestrator.supervisor import ProcessStatus, process_table, stop_supervisor

SUPERVISE = """
import json, sys
from datetime import timedelta
from pathlib import Path
from alina.embedded.folder import DataFolder
from alina.orchestrator.processes import ProcessSpec
from alina.orchestrator.restarts import QueueState, RestartPolicy
from alina.orchestrator.supervisor import Supervisor

folder = DataFolder(sys.argv[1])
plan = json.loads(sys.argv[2])
specs = [
    ProcessSpec(name=name, argv=[sys.executable, "-S", "-c", code], env={}, grace=plan["grace"], queue=name)
    for name, code in plan["children"].items()
]
queues = {name: QueueState(waiting=waiting, last_started=None) for name, waiting in plan["queues"].items()}
revived = Path(sys.argv[1]) / "revived"

def revive():
    if revived.exists():
        return ()
    revived.touch()
    return ("redis",)

with folder.lock():
    Supervisor(
        folder,
        specs,
        stalled_after=timedelta(seconds=1),
        queue_probe=lambda: queues,
        revive=revive,
        policy=RestartPolicy(first_delay=0.1),
        look_every=0.1,
    ).run()
"""
SLEEP = "import time; time.sleep(600)"
DIE = "print('dying'); raise SystemExit(3)"
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(600)"
)
PATIENT = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))\n"
    "print('patient', flush=True)\n"
    "time.sleep(600)"
)
WITH_GRANDCHILD = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "print('both', flush=True)\n"
    "time.sleep(600)"
)

Start = Callable[..., "subprocess.Popen[bytes]"]
T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


@pytest.fixture
def start(folder: DataFolder) -> Iterator[Start]:
    supervisors: list[subprocess.Popen[bytes]] = []

    def supervise(
        *, grace: float = 5.0, queues: dict[str, int] | None = None, **children: str
    ) -> subprocess.Popen[bytes]:
        plan = json.dumps({"grace": grace, "queues": queues or {}, "children": children})
        supervisors.append(subprocess.Popen([sys.executable, "-c", SUPERVISE, str(folder.path), plan]))
        return supervisors[-1]

    yield supervise
    for supervisor in supervisors:
        supervisor.kill()
        supervisor.wait()
    end_leftovers(folder)


def wait_until(holds: Callable[[], T], *, within: float = 200.0) -> T:
    """The first true value."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def row(folder: DataFolder, name: str) -> ProcessStatus | None:
    return next((status for status in process_table(folder) if status.name == name), None)


def pid(folder: DataFolder, name: str) -> int:
    """Of the child, once it runs its program: before, memory and environment are another's or none."""
    return wait_until(lambda: _pid_of_program(folder, name))


def _pid_of_program(folder: DataFolder, name: str) -> int | None:
    with suppress(psutil.Error):
        status = row(folder, name)
        if status is not None and status.pid is not None:
            process = psutil.Process(status.pid)
            command = process.cmdline()
            if command and tether.__file__ not in command and is_child(process, folder):
                return status.pid
    return None


def restarts(folder: DataFolder, name: str) -> int:
    status = row(folder, name)
    return status.restarts if status else 0


def log_of(folder: DataFolder, name: str) -> str:
    path = folder.path / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def children(folder: DataFolder) -> list[int]:
    return [process.pid for process in psutil.process_iter() if is_child(process, folder)]


def test_a_child_that_dies_is_started_again_and_the_others_are_left_alone(
    folder: DataFolder, start: Start
) -> None:
    start(good=SLEEP, bad=DIE)
    good = pid(folder, "good")
    wait_until(lambda: restarts(folder, "bad") >= 2)
    assert pid(folder, "good") == good
    assert restarts(folder, "good") == 0
    assert log_of(folder, "bad").count("dying") >= 2


def test_a_killed_child_comes_back_under_another_pid(folder: DataFolder, start: Start) -> None:
    start(worker=SLEEP)
    first = pid(folder, "worker")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: restarts(folder, "worker") == 1)
    assert pid(folder, "worker") != first


def test_a_worker_that_takes_nothing_from_its_waiting_queue_is_restarted(
    folder: DataFolder, start: Start
) -> None:
    start(queues={"stalled": 5, "idle": 0}, stalled=SLEEP, idle=SLEEP)
    idle = pid(folder, "idle")
    wait_until(lambda: restarts(folder, "stalled") >= 1)
    assert pid(folder, "idle") == idle


def test_the_embedded_servers_are_looked_after_too(folder: DataFolder, start: Start) -> None:
    start(worker=SLEEP)
    wait_until((folder.path / "revived").exists)


def test_a_stop_leaves_nothing_behind(folder: DataFolder, start: Start) -> None:
    supervisor = start(one=SLEEP, two=WITH_GRANDCHILD)
    wait_until(lambda: "both" in log_of(folder, "two"))
    wait_until(lambda: len(children(folder)) == 3)
    assert stop_supervisor(folder, timeout=200)
    assert supervisor.wait(200) == 0
    assert children(folder) == []
    assert folder.holder() is None
    assert not any(status.alive for status in process_table(folder))


def test_ctrl_c_stops_as_a_stop_does(folder: DataFolder, start: Start) -> None:
    supervisor = start(one=SLEEP)
    pid(folder, "one")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(200) == 0
    assert children(folder) == []


def test_a_child_that_does_not_end_when_asked_is_killed_after_its_grace(
    folder: DataFolder, start: Start
) -> None:
    start(grace=0.5, stubborn=STUBBORN)
    wait_until(lambda: "deaf" in log_of(folder, "stubborn"))
    assert stop_supervisor(folder, timeout=200)
    assert children(folder) == []


def test_children_end_when_their_supervisor_is_killed(folder: DataFolder, start: Start) -> None:
    supervisor = start(one=SLEEP, two=SLEEP)
    pid(folder, "two")
    supervisor.kill()
    wait_until(lambda: not children(folder))


def test_what_survives_a_killed_supervisor_is_found_and_ended(folder: DataFolder, start: Start) -> None:
    first = start(stubborn=STUBBORN)
    wait_until(lambda: "deaf" in log_of(folder, "stubborn"))
    survivor = pid(folder, "stubborn")
    first.kill()
    first.wait()
    assert children(folder) == [survivor]
    assert end_leftovers(folder, grace=0.5) == [survivor]
    wait_until(lambda: children(folder) == [])


def test_the_next_supervisor_ends_what_survived_the_last(folder: DataFolder, start: Start) -> None:
    first = start(patient=PATIENT)
    wait_until(lambda: "patient" in log_of(folder, "patient"))
    first.kill()
    first.wait()
    start(other=SLEEP)
    other = pid(folder, "other")
    assert children(folder) == [other]


def test_a_second_supervisor_of_one_folder_is_refused(folder: DataFolder, start: Start) -> None:
    supervisor = start(one=SLEEP)
    first = pid(folder, "one")
    assert folder.holder() == supervisor.pid
    assert start(one=SLEEP).wait(200) != 0
    with pytest.raises(SystemStateError, match="already running"), folder.lock():
        pass
    assert pid(folder, "one") == first


def test_the_table_tells_memory_and_uptime(folder: DataFolder, start: Start) -> None:
    supervisor = start(one=SLEEP)
    pid(folder, "one")
    # A program that was only just begun has next to no memory of its own until its interpreter runs.
    wait_until(lambda: all(status.memory > 1_000_000 for status in process_table(folder)))
    table = {status.name: status for status in process_table(folder)}
    assert table["supervisor"].pid == supervisor.pid
    for status in table.values():
        assert status.alive
        assert status.uptime
        assert status.uptime < timedelta(minutes=5)


def test_a_stop_with_nothing_running_says_so(folder: DataFolder) -> None:
    assert not stop_supervisor(folder, timeout=1)
    assert not process_table(folder)[0].alive


def test_a_child_gets_only_the_environment_it_was_given(
    folder: DataFolder, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCHANGE_SECRET_OF_ANOTHER", "1")
    start(child="import os; print(sorted(os.environ), flush=True); import time; time.sleep(600)")
    wait_until(lambda: "]" in log_of(folder, "child"))
    assert "EXCHANGE_SECRET_OF_ANOTHER" not in log_of(folder, "child")
