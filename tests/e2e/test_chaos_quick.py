"""The quick part of `make chaos`: every door of the path is a crash point, and some of them are met."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_points import sites
from proving_ground import Ground, kill_at, points_of, proving_ground, trade_through_faults
from scenarios import SCENARIOS

#: the modules between a proposal and its settled order
PATH = (
    "execution",
    "halting",
    "protection",
    "reconciliation",
    "review",
    "snapshot",
    "sweeping",
    "winding_down",
)
#: what no scenario reaches: an experiment places no orders, the venue of these tests takes its fees in what
#: is traded, and no position becomes too small to be sold
NOT_MET = {
    "sweeping.sweep send 5",
    "execution._fee_rates exchange.ticker",
    "protection.close_dust commit 2",
    "protection.close_dust exchange.market",
}
#: around the request itself, and each side of every commit before and after it
KILLS = (
    "before review.decide commit 2",
    "after review.decide commit 2",
    "before execution._claim commit",
    "after execution._claim commit",
    "before execution._submit exchange.submit",
    "after execution._submit exchange.submit",
    "before execution._record commit",
    "after execution._record commit",
    "before execution.settle commit 3",
    "after execution.settle commit 3",
    "before execution._after_settlement send",
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("chaos")
    with proving_ground(home, postgres_server, symbols=60) as ground:
        yield ground


def test_the_scenarios_meet_every_commit_request_and_message_of_the_path(
    ground: Ground, tmp_path: Path
) -> None:
    met: set[str] = set()
    for number, scenario in enumerate(SCENARIOS.values()):
        met |= set(points_of(ground, tmp_path / f"{number}.txt", scenario))
    named = {site.name for module in PATH for site in sites(module)}
    assert {f"{when} {name}" for when in ("before", "after") for name in named - NOT_MET} - met == set()


@pytest.mark.parametrize("point", KILLS)
def test_an_executor_killed_by_the_system_leaves_one_order_and_equal_books(
    ground: Ground, point: str
) -> None:
    result = kill_at(ground, SCENARIOS["a trade"], point, 1)
    assert result.faults == 1, "the point was met"
    assert result.wrong == []


def test_ten_trades_through_faults_of_the_venue_end_with_equal_books(ground: Ground) -> None:
    result = trade_through_faults(ground, seed=1)
    assert result.faults >= 20
    assert result.wrong == []
