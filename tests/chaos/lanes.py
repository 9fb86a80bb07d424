"""Cases side by side: each lane is a process with a ledger of its own."""

import gc
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog
from chaos_cases import Case, Result, points_of
from proving_ground import Ground, make_databases
from scenarios import SCENARIOS, trade

#: of a lane's process
_ground: Ground | None = None


class Lanes:
    """Processes that run cases; half as many again as there are cores, for many a case waits."""

    def __init__(self, home: Path, postgres: str) -> None:
        count = (os.cpu_count() or 1) * 3 // 2
        context = get_context("spawn")
        places: Any = context.SimpleQueue()
        for number in range(count):
            places.put((home / f"lane-{number}", make_databases(postgres, f"chaos_{number}")))
        self._pool = ProcessPoolExecutor(count, context, _open_lane, (places,))

    def survey(self) -> dict[str, list[str]]:
        """The points that each scenario meets when nothing kills it, in order."""
        return dict(zip(SCENARIOS, self._pool.map(_points_of, SCENARIOS), strict=True))

    def run(self, cases: Sequence[Case], *, until: float) -> Iterator[Result]:
        """What each case came to, as it ends. After `until` (time.time()) no further case is begun."""
        for done in as_completed([self._pool.submit(_run, case, until) for case in cases]):
            result = done.result()
            if result is not None:
                yield result

    def close(self) -> None:
        """End the processes; what has not begun does not."""
        self._pool.shutdown(cancel_futures=True)


def _open_lane(places: Any) -> None:
    """Load everything, once: whatever trades here is forked from this process."""
    global _ground
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    _ground = Ground(*places.get())
    _ground.warm_up(trade)
    gc.collect()
    gc.freeze()


def _points_of(scenario: str) -> list[str]:
    assert _ground is not None
    return points_of(_ground, SCENARIOS[scenario])


def _run(case: Case, until: float) -> Result | None:
    assert _ground is not None
    return case.run(_ground) if time.time() < until else None
