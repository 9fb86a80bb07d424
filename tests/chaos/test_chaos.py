"""Kill -9 at every point of the path, every fault of the venue, and the books agree to the last digit."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from chaos_table import ChaosTable
from lanes import Case, run_all
from proving_ground import points_of, proving_ground
from scenarios import SCENARIOS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
BATCHES = 24
AGAIN_AND_AGAIN = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


def test_an_executor_killed_at_every_point_of_every_scenario(
    home: Path, postgres_server: str, chaos_table: ChaosTable
) -> None:
    cases = []
    with proving_ground(home, postgres_server, symbols=len(SCENARIOS)) as ground:
        for number, (name, scenario) in enumerate(SCENARIOS.items()):
            met: Counter[str] = Counter()
            for point in points_of(ground, home / f"{number}.txt", scenario):
                met[point] += 1
                if scenario.is_about(point):
                    cases.append(Case(name, point, met[point]))
    chaos_table.add(
        (f"kill -9: {case.scenario}", result) for case, result in run_all(home / "a", postgres_server, cases)
    )


def test_executors_killed_again_and_again(home: Path, postgres_server: str, chaos_table: ChaosTable) -> None:
    draws = Random(3)
    cases = [
        Case(name, kills=tuple(draws.randrange(1, 60) for _ in range(5)))
        for _ in range(AGAIN_AND_AGAIN // len(SCENARIOS) + 1)
        for name in SCENARIOS
    ]
    chaos_table.add(
        ("kill -9, five times over", result) for _, result in run_all(home / "b", postgres_server, cases)
    )


def test_every_fault_of_the_venue(home: Path, postgres_server: str, chaos_table: ChaosTable) -> None:
    cases = [Case(seed=seed) for seed in range(BATCHES)]
    chaos_table.add(
        ("faults of the venue", result) for _, result in run_all(home / "c", postgres_server, cases)
    )


def test_at_least_two_thousand_faults_were_injected(chaos_table: ChaosTable) -> None:
    assert chaos_table.faults >= 2000
