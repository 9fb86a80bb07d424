"""What all cases came to: one line a kind of case, and whether it is good enough."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from chaos_cases import Result
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

LEAST_FAULTS = 2000
_COLUMNS = ("case", "runs", "faults", "duplicates", "lost", "stuck", "converged in, p50", "max")


@dataclass
class ChaosTable:
    """The results so far; with a file, those of earlier runs too, and each new one as it comes."""

    file: Path | None = None
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            self.results += [Result(**json.loads(line)) for line in self.file.read_text().splitlines()]

    @property
    def names(self) -> set[str]:
        """The cases that have run."""
        return {one.name for one in self.results}

    @property
    def faults(self) -> int:
        return sum(one.faults for one in self.results)

    @property
    def wrong(self) -> list[str]:
        """What is wrong with any of them, one line each."""
        return [line for one in self.results for line in one.wrong]

    @property
    def killed_at(self) -> set[str]:
        """The named points at which a process was killed."""
        return {one.killed_at for one in self.results}

    def add(self, result: Result) -> None:
        self.results.append(result)
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(f"{json.dumps(asdict(result))}\n")

    def show(self, console: Console) -> None:
        """One line a kind, and one for all."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column == "case" else "right")
        for kind in dict.fromkeys(one.kind for one in self.results):
            table.add_row(*_line(kind, [one for one in self.results if one.kind == kind]))
        table.add_section()
        table.add_row(*_line("in all", self.results))
        console.print(table)

    def complaints(self, must_be_met: Collection[str]) -> list[str]:
        """Why this is not good enough, one line each; none: it is."""
        counts = {name: sum(getattr(one, name) for one in self.results) for name in _BAD}
        found = [f"{count} {name}" for name, count in counts.items() if count]
        found += self.wrong
        found += [f"nothing was killed {point}" for point in sorted(set(must_be_met) - self.killed_at)]
        if self.faults < LEAST_FAULTS:
            found.append(f"{self.faults} faults were injected, at least {LEAST_FAULTS} are asked for")
        return found


_BAD = ("duplicates", "lost", "stuck")


def _line(name: str, results: Iterable[Result]) -> list[str]:
    results = list(results)
    sums = [sum(getattr(one, count) for one in results) for count in ("faults", *_BAD)]
    seconds = [one.seconds for one in results] or [0.0]
    return [name, str(len(results)), *map(str, sums), f"{median(seconds):.1f} s", f"{max(seconds):.1f} s"]
