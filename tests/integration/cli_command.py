"""The `alina` command as a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alina.cli import main

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


def alina(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 200) -> Said:
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


class InProcess:
    """`alina` in the test's own process, for what needs no process of its own: a second faster each time."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(folder)
        # it would bind the whole session's logging to this test's streams
        monkeypatch.setattr("alina.log.configure_logging", lambda *_: None)

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> Said:
        with self._monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["alina", *arguments])
            self._capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main.main()
        shown = self._capsys.readouterr()
        return Said(int(ended.value.code or 0), shown.out, shown.err)


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
