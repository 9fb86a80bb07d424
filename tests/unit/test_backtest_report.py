"""The report: what it claims, what it escapes, and that it is whole."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_backtest_benchmarks import traded, walk

from alina.backtest.equity import Curve, Denial, Outcome
from alina.backtest.metrics import monthly_returns
from alina.backtest.report import assess, put, verdict, write


def some_run() -> Outcome:
    return traded({"BTC/USDT": walk(1500, 11)}, [("BTC/USDT", i, i + 12) for i in range(0, 1400, 40)])


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_a_report_holds_a_page_a_picture_figures_and_series(tmp_path: Path) -> None:
    run = some_run()
    page = write(assess(run), tmp_path / "new" / "folder").read_text()
    folder = tmp_path / "new" / "folder"
    assert sorted(each.name for each in folder.iterdir()) == [
        "equity.csv",
        "report.html",
        "report.json",
        "report.png",
        "trades.csv",
    ]
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page
    told = json.loads((folder / "report.json").read_text())
    assert told["metrics"]["trades"] == len(run.trades) == 35
    assert told["verdict"] == verdict(assess(run))
    trades = rows_of(folder / "trades.csv")
    assert [row["pnl"] for row in trades] == [f"{trade.realised_pnl:f}" for trade in run.trades]
    equity = rows_of(folder / "equity.csv")
    assert len(equity) == 1500
    assert float(equity[-1]["equity"]) == pytest.approx(float(told["metrics"]["final_equity"]))
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_kernel_denied_is_told_and_escaped(tmp_path: Path) -> None:
    denied = (Denial("MAX_TRADE_AMOUNT", 7, "8000 is above <b>1000</b>"), Denial("COOLDOWN", 1, "too soon"))
    page = write(assess(replace(some_run(), denied=denied)), tmp_path).read_text()
    assert "7 denied as MAX_TRADE_AMOUNT: the first since 8000 is above &lt;b&gt;1000" in page
    told = json.loads((tmp_path / "report.json").read_text())["denied"]
    assert [(one["reason"], one["count"]) for one in told] == [("MAX_TRADE_AMOUNT", 7), ("COOLDOWN", 1)]
    idle = replace(some_run(), fills=(), positions=(), denied=denied)
    assert verdict(assess(idle)).endswith("Nothing was traded: 8 proposals were denied.")


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    run = some_run()
    pages = [write(assess(run), tmp_path / name).read_bytes() for name in ("first", "again")]
    assert pages[0] == pages[1]


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    page = write(assess(replace(some_run(), agent="<script>alert(1)</script>")), tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_a_trade_says_so(tmp_path: Path) -> None:
    report = assess(traded({"BTC/USDT": walk(100, 1)}, []))
    assert "Nothing was traded." in verdict(report)
    assert write(report, tmp_path).is_file()


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    put(tmp_path / "kept", b"old")
    (tmp_path / "kept.part").mkdir()
    with pytest.raises(IsADirectoryError):
        put(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_bytes() == b"old"


def test_a_month_ends_with_the_close_at_midnight_of_the_next() -> None:
    closes = np.array(["2026-01-31T23:00", "2026-02-01T00:00", "2026-02-01T01:00"], dtype="datetime64[ms]")
    drawn = Curve(closes.astype(np.int64), 100.0, np.array([100.0, 110, 99]), np.zeros(3))
    assert monthly_returns(drawn) == {(2026, 1): pytest.approx(0.1), (2026, 2): pytest.approx(-0.1)}
