"""Server processes that outlive the one that started them, found again by pid file and command line."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_KILLED_WITHIN = 10.0


def find(pid: int | None, argument: str) -> psutil.Process | None:
    """The living process `pid` if its command line has `argument`; None if it is dead or another's."""
    with suppress(psutil.Error):
        process = psutil.Process(pid) if pid else None
        if process and argument in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def read_pid(path: Path) -> int | None:
    """The number on the first line of a pid file; None where there is none."""
    with suppress(OSError, ValueError, IndexError):
        return int(path.read_text(encoding="utf-8").splitlines()[0])
    return None


def launch(
    argv: Sequence[str],
    *,
    output: Path,
    cwd: Path,
    environment: Mapping[str, str],
    user: pwd.struct_passwd | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C and its parent's death leave it running.

    Its output replaces the file `output`. `user`: run as that user, without further groups.
    """
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env=dict(environment),
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=() if user else None,
            umask=0o077,
            start_new_session=True,
        )


def end(process: psutil.Process, *, asking: signal.Signals = signal.SIGTERM, grace: float) -> None:
    """Ask the process to end, and kill it after `grace` seconds. psutil never signals a reused pid."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(asking)
        try:
            process.wait(grace)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_KILLED_WITHIN)


def last_line(output: Path) -> str:
    """The last line a server wrote: what went wrong, when it died at the start."""
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n") if output.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
