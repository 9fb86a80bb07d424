"""Cases side by side: each lane is a process with a venue and a ledger of its own."""

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import structlog
from proving_ground import Result, kill_again_and_again, kill_at, proving_ground, trade_through_faults
from scenarios import SCENARIOS

LANES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """What one case does; only one of the three."""

    scenario: str = "a trade"
    #: kill at this point, at its n-th occurrence
    point: str = ""
    occurrence: int = 1
    #: kill each after so many points
    kills: tuple[int, ...] = ()
    #: of a batch that meets the venue's faults
    seed: int | None = None

    @property
    def symbols(self) -> int:
        return 10 if self.seed is not None else 1


def run_all(home: Path, postgres: str, cases: Sequence[Case]) -> list[tuple[Case, Result]]:
    """Every case, in lanes; each with what it came to."""
    with ProcessPoolExecutor(LANES, mp_context=get_context("spawn")) as pool:
        lanes = [
            pool.submit(run_lane, home / f"lane-{number}", postgres, cases[number::LANES])
            for number in range(LANES)
        ]
        return [done for lane in lanes for done in lane.result()]


def run_lane(home: Path, postgres: str, cases: Sequence[Case]) -> list[tuple[Case, Result]]:
    """These cases, one after the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    home.mkdir(parents=True)
    symbols = 1 + sum(case.symbols for case in cases)
    with proving_ground(home, postgres, symbols=symbols) as ground:
        done = []
        for case in cases:
            scenario = SCENARIOS[case.scenario]
            if case.seed is not None:
                result = trade_through_faults(ground, case.seed)
            elif case.kills:
                result = kill_again_and_again(ground, scenario, case.kills)
            else:
                result = kill_at(ground, scenario, case.point, case.occurrence)
            done.append((case, result))
        return done
