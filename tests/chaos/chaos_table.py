"""What all cases came to, one line a kind of case."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from proving_ground import Result
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_COLUMNS = ("case", "runs", "faults", "duplicates", "lost", "stuck", "slowest, s")


@dataclass
class ChaosTable:
    """The results so far."""

    results: dict[str, Result] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        return sum(result.faults for result in self.results.values())

    def add(self, results: Iterable[tuple[str, Result]]) -> None:
        """Count these, and fail for what is wrong with any of them."""
        wrong = []
        for name, result in results:
            total = self.results.setdefault(name, Result(name))
            total += result
            wrong += result.wrong
        assert wrong == []

    def show(self, console: Console) -> None:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column == "case" else "right")
        total = Result("in all")
        for result in self.results.values():
            total += result
        for one in (*self.results.values(), total):
            counts = (one.runs, one.faults, one.duplicates, one.lost, one.stuck)
            table.add_row(one.name, *map(str, counts), f"{one.seconds:.1f}")
        console.print(table)
