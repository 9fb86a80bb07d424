"""`make chaos`: kill -9 at every point of the path, every fault of the venue, every end of a server.

Prints how far it is, then one table, then what is wrong. Exit code 1 where anything is: an order too many or
lost, something stuck, books that differ, a point of the path that nothing was killed at, too few faults.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("integration", "e2e")]

from chaos_cases import Case, KillAgain, KillAt, KillAtAnyMoment, Result, SideBySide, VenueFails
from chaos_servers import FAULTS, end, round_of, trading_system
from chaos_table import ChaosTable
from crash_points import points_of_the_path
from lanes import Lanes
from rich.console import Console
from scenarios import SCENARIOS, UNREACHABLE

from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres

BATCHES = 24
BATCHES_WITH_KILLS = 8
SEEDS = 4
MOMENTS = 30
PAIRS = 30
ROUNDS = 2
#: a point that a scenario meets in a loop is met the same way each time
MEETINGS = 2


def main() -> int:
    """Returns the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    table = ChaosTable(arguments.results)
    until = time.time() + arguments.budget
    progress = _Progress(table)
    left = 0
    if arguments.only != "servers":
        left += _run_lanes(table, progress, until)
    if arguments.only != "cases":
        left += _end_servers(table, progress, until)
    progress.close()
    console = Console(width=120)
    table.show(console)
    is_whole = not left and arguments.only != "servers"
    complaints = table.complaints(_must_be_met() if is_whole else ())
    if left:
        complaints.append(f"{left} cases were not begun in time: run again with the same --results FILE")
    for line in complaints:
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return 1 if complaints else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--budget", type=float, default=3600, metavar="SECONDS", help="begin no further case after so long"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="keep each result here, and skip what is here",
    )
    parser.add_argument(
        "--only", choices=("cases", "servers"), help="leave out the ends of servers, or all but them"
    )
    return parser.parse_args()


def _run_lanes(table: ChaosTable, progress: "_Progress", until: float) -> int:
    """Everything that needs no system of its own. Returns how many cases were not begun."""
    # not in a folder of pytest's: the server's user needs rights on it
    home = Path(tempfile.mkdtemp(prefix="alina-chaos-"))
    server = EmbeddedPostgres(DataFolder(home), settings={"fsync": "off"})
    try:
        lanes = Lanes(home, server.start())
        try:
            met = lanes.survey()
            left = _run_cases(lanes, _cases(met), table, progress, until)
            if (
                not left
            ):  # how often a point is met may differ from run to run: what was missed is tried again
                left = _run_cases(lanes, _missed(met, table), table, progress, until)
        finally:
            lanes.close()
    finally:
        server.stop()
        shutil.rmtree(home)
    return left


def _run_cases(
    lanes: Lanes, cases: Sequence[Case], table: ChaosTable, progress: "_Progress", until: float
) -> int:
    left = {case.name: case for case in cases if case.name not in table.names}
    progress.expect(len(left))
    for result in lanes.run(list(left.values()), until=until):
        del left[result.name]
        progress.add(result)
    return len(left)


def _cases(met: Mapping[str, Sequence[str]]) -> list[Case]:
    """Those that take long come first: at the end no lane waits for another."""
    return [
        *(VenueFails(seed) for seed in range(BATCHES)),
        *(VenueFails(seed, kills=3) for seed in range(BATCHES, BATCHES + BATCHES_WITH_KILLS)),
        *(SideBySide(seed) for seed in range(PAIRS)),
        *(KillAtAnyMoment(seed) for seed in range(MOMENTS)),
        *(KillAgain(scenario, seed) for scenario in SCENARIOS for seed in range(SEEDS)),
        *_kills(met),
    ]


def _kills(met: Mapping[str, Sequence[str]]) -> Iterator[Case]:
    for name, points in met.items():
        for point, count in Counter(points).items():
            if SCENARIOS[name].is_about(point):
                yield from (KillAt(name, point, meeting + 1) for meeting in range(min(count, MEETINGS)))


def _missed(met: Mapping[str, Sequence[str]], table: ChaosTable) -> list[Case]:
    missed = _must_be_met() - table.killed_at
    return [KillAt(name, point) for name, points in met.items() for point in missed & set(points)]


def _must_be_met() -> set[str]:
    sites = {f"{when} {site}" for when in ("before", "after") for site in UNREACHABLE}
    return set(points_of_the_path() - sites)


def _end_servers(table: ChaosTable, progress: "_Progress", until: float) -> int:
    """Each end of a server, in a system of its own. Returns how many were not begun."""
    left = [name for name in FAULTS if round_of(name, ROUNDS) not in table.names]
    progress.expect(len(left) * ROUNDS)
    while left and time.time() < until:
        name = left.pop(0)
        with trading_system() as system:
            for number in range(1, ROUNDS + 1):
                progress.add(end(system, name, number))
    return len(left) * ROUNDS


class _Progress:
    """One line that says how far it is: rewritten on a terminal, else a new one now and then."""

    def __init__(self, table: ChaosTable) -> None:
        self._table = table
        self._began = self._shown = time.monotonic()
        self._expected = len(table.results)
        self._is_terminal = sys.stderr.isatty()

    def expect(self, cases: int) -> None:
        """So many more are to come."""
        self._expected += cases
        self._show()

    def add(self, result: Result) -> None:
        """One has ended."""
        self._table.add(result)
        for line in result.wrong:
            sys.stderr.write(f"\nWRONG {line}\n")
        if time.monotonic() - self._shown > (0.2 if self._is_terminal else 15):
            self._show()

    def close(self) -> None:
        self._show()
        sys.stderr.write("\n")

    def _show(self) -> None:
        self._shown = time.monotonic()
        minutes, seconds = divmod(int(self._shown - self._began), 60)
        line = (
            f"{len(self._table.results)} of {self._expected} cases, {self._table.faults} faults, "
            f"{len(self._table.wrong)} wrong, {minutes}:{seconds:02}"
        )
        sys.stderr.write(f"\r{line} " if self._is_terminal else f"{line}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
