"""`alina demo` without a terminal, as `make demo` runs it in a pipe."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.image import imread
from running_system import eventually, processes_that_name, write_script

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d  BTC/USDT  (\w+)")


@pytest.fixture(scope="module")
def demo() -> "Iterator[tuple[subprocess.CompletedProcess[str], Path]]":
    """The finished demo and the folder it made."""
    place = Path(tempfile.mkdtemp(prefix="alina-e2e-"))  # not pytest's own: see conftest.py
    # it ends by itself once it has shown enough; how long that takes is the machine's
    command = [sys.executable, "-m", "alina.cli.main", "demo", "--seconds", "300"]
    command += ["--folder", str(place / "runs"), "--model", f"scripted:{write_script(place)}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=600, check=False)
    (home,) = (place / "runs").iterdir()
    yield done, home
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def output(demo: "tuple[subprocess.CompletedProcess[str], Path]") -> str:
    done, _ = demo
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(demo: "tuple[subprocess.CompletedProcess[str], Path]") -> Path:
    return demo[1]


def test_lines_show_candle_decision_and_verdict(output: str) -> None:
    decisions = [found[1] for line in output.splitlines() if (found := LINE.match(line))]

    assert {"buy", "sell"} <= set(decisions)
    assert "approved  filled" in output
    assert "denied MAX_TRADE_AMOUNT" in output
    assert "\x1b" not in output, "no escape sequences without a terminal"


def test_the_summary_says_that_the_books_agree(output: str, home: Path) -> None:
    summary = json.loads((home / "summary.json").read_text())

    assert summary["books_agree"]
    assert summary["differences"] == []
    assert summary["cycles"] > 5
    assert summary["orders"]["filled"] > 1
    assert "agree to the last digit" in output


def test_the_equity_picture_is_drawn(output: str, home: Path) -> None:
    assert str(home / "equity.png") in output
    pixels = imread(home / "equity.png")

    assert min(pixels.shape[:2]) > 200
    assert pixels.std() > 0.05, "the picture is not blank"


def test_nothing_of_the_demo_is_left(output: str, home: Path) -> None:
    assert output
    eventually(lambda: not processes_that_name(str(home)), "no process of the demo is left")
