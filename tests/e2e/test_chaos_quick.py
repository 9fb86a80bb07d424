"""The quick part of `make chaos`: the scenarios meet every point, and one of each kind is killed."""

from collections.abc import Iterator

import pytest
from chaos_cases import KillAgain, KillAt, KillAtAnyMoment, SideBySide, VenueFails, points_of
from chaos_servers import end
from crash_points import ELSEWHERE, points_of_the_path, sites
from proving_ground import Ground, make_databases
from running_system import RunningSystem
from scenarios import SCENARIOS, UNREACHABLE, trade

#: around the request itself, each side of every commit before and after it, and a message
KILLS = (
    "before review.decide commit",
    "after review.decide commit",
    "before execution._claim commit",
    "after execution._claim commit",
    "before execution._submit exchange.submit",
    "after execution._submit exchange.submit",
    "before execution._record commit",
    "after execution._record commit",
    "before execution.settle commit 3",
    "after execution.settle commit 3",
    "before execution._after_settlement send",
    "after polling.poll_symbol exchange",
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("chaos")
    ground = Ground(home, make_databases(postgres_server, "chaos_quick"))
    ground.warm_up(trade)
    yield ground
    ground.dispose()


def test_the_scenarios_meet_every_commit_request_and_message_of_the_path(ground: Ground) -> None:
    met = {
        point
        for scenario in SCENARIOS.values()
        for point in points_of(ground, scenario)
        if scenario.is_about(point)
    }
    unreachable = {f"{when} {site}" for when in ("before", "after") for site in UNREACHABLE}

    assert points_of_the_path() - unreachable - met == set()
    assert unreachable & met == set()


def test_what_is_left_out_of_the_path_sends_nothing_to_an_exchange() -> None:
    doors = [site.name for module in ELSEWHERE for site in sites(module)]

    assert [name for name in doors if name.endswith(("submit", "cancel", "send"))] == []


@pytest.mark.parametrize("point", KILLS)
def test_an_executor_killed_by_the_system_leaves_one_order_and_equal_books(
    ground: Ground, point: str
) -> None:
    result = KillAt("a trade", point).run(ground)

    assert result.wrong == []
    assert result.killed_at == point


@pytest.mark.parametrize(
    "case",
    [KillAgain("halt and flatten", seed=1), KillAtAnyMoment(seed=1), SideBySide(seed=1)],
    ids=lambda one: one.name,
)
def test_executors_killed_in_other_ways_leave_one_order_and_equal_books(
    ground: Ground, case: KillAgain | KillAtAnyMoment | SideBySide
) -> None:
    assert case.run(ground).wrong == []


@pytest.mark.parametrize("seed", [0, 1])
def test_ten_trades_through_faults_of_the_venue_end_with_equal_books(ground: Ground, seed: int) -> None:
    result = VenueFails(seed).run(ground)

    assert result.wrong == []
    assert result.faults >= 20


@pytest.mark.parametrize("name", ["redis flushed", "postgres restarted, fast"])
def test_trading_goes_on_and_the_books_agree_after_a_server(system: RunningSystem, name: str) -> None:
    """Those that `test_running_through_deaths` does not end."""
    assert end(system, name, 1).wrong == []
