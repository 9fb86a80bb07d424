"""The `alina` command as a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALINA = (sys.executable, "-m", "alina.cli.main")


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The shell's, without settings of whoever runs the tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith("ALINA_")} | dict(extra)


def alina(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60) -> Said:
    """Run a command to its end."""
    done = subprocess.run(
        [*ALINA, *arguments],
        cwd=folder,
        env=environment(env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def start(folder: Path, arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command that runs until it is told to end; what it says goes to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [*ALINA, *arguments],
            cwd=folder,
            env=environment({}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
