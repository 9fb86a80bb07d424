"""What a person watches while the system trades: a table on a terminal, plain lines elsewhere."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from alina.cli.output import printable
from alina.domain.orders import OrderState
from alina.domain.portfolio import Equity
from alina.domain.runs import Run, RunState
from alina.ledger import DecisionTrail
from alina.orchestrator.runtime import Runtime

_ROWS = 14
_STYLES = {"approved": "green", "denied": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the view."""

    candle: datetime
    symbol: str
    #: gated, hold, buy, sell, or why a position is closed
    decision: str
    why: str
    #: approved, denied REASON, or empty
    verdict: str = ""
    order: str = ""
    #: tokens a second of the model's answer
    speed: Decimal | None = None

    def line(self) -> str:
        """The event as plain text."""
        parts = [f"{self.candle:%Y-%m-%d %H:%M}", self.symbol, self.decision]
        parts += [part for part in (self.verdict, self.order) if part]
        if self.speed is not None:
            parts.append(f"{self.speed:.0f} tokens/s")
        return f"{'  '.join(parts)}  {self.why}"


class Watcher:
    """Turns what is new in the ledger into events, each shown once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen: set[UUID] = set()

    def events(self) -> list[Event]:
        """What was decided since the last call, oldest first. A proposal waits for its verdict."""
        with self._runtime.unit_of_work() as uow:
            runs = uow.ledger.runs(limit=40)
            trails = uow.ledger.decisions(limit=40)
        undecided = [
            _run_event(run)
            for run in reversed(runs)
            if run.state not in (RunState.STARTED, RunState.PROPOSED) and self._is_new(run.id)
        ]
        told = [trail for trail in reversed(trails) if _has_ended(trail) and self._is_new(trail.decision.id)]
        return undecided + [_trail_event(trail) for trail in told]

    def _is_new(self, key: UUID) -> bool:
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new


def _has_ended(trail: DecisionTrail) -> bool:
    """Denied, or with the exchange's word on its order: shown earlier, it would stay at "submitting"."""
    if trail.decision.content_hash is None:
        return True
    return trail.order is not None and trail.order.state is not OrderState.SUBMITTING


def _run_event(run: Run) -> Event:
    """A run that proposed nothing."""
    return Event(
        candle=run.as_of, symbol=run.symbol, decision=run.state.value, why=run.summary, speed=_speed(run)
    )


def _trail_event(trail: DecisionTrail) -> Event:
    """A proposal with its verdict and its order."""
    proposal, decision, order = trail.proposal, trail.decision, trail.order
    return Event(
        candle=proposal.as_of,
        symbol=proposal.symbol,
        decision=proposal.side.value,
        why=proposal.rationale,
        verdict=f"{decision.verdict} {decision.reason.name}" if decision.reason else decision.verdict,
        order=f"{order.state.value} {order.filled_quantity:f}" if order else "",
        speed=_speed(trail.run) if trail.run else None,
    )


def _speed(run: Run) -> Decimal | None:
    return run.calls[-1].completion.tokens_per_second if run.calls else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far the run is: done and goal by name."""

    goals: dict[str, tuple[int, int]]
    equity: Equity | None
    seconds_left: float


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None: ...

    def progress(self, progressed: Progressed) -> None: ...


def make_view(console: Console) -> View:
    """A live table on a terminal, else lines."""
    return TableView(console) if console.is_terminal else LineView(console)


class LineView:
    """One line an event; progress whenever the equity changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, event: Event) -> None:
        self._print(event.line())

    def progress(self, progressed: Progressed) -> None:
        equity = progressed.equity
        if equity is None or f"{equity.total:.2f}" == self._shown:
            return
        self._shown = f"{equity.total:.2f}"
        goals = ", ".join(f"{name} {done}/{goal}" for name, (done, goal) in progressed.goals.items())
        self._print(f"{equity.as_of:%Y-%m-%d %H:%M}  equity {equity.total:.2f}  {goals}")

    def _print(self, line: str) -> None:
        self._console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


class TableView:
    """The newest events, the goals as bars, and the equity."""

    def __init__(self, console: Console) -> None:
        self._events: deque[Event] = deque(maxlen=_ROWS)
        self._bars = Progress(
            TextColumn("{task.description:>24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total}"),
        )
        self._tasks: dict[str, TaskID] = {}
        self._equity = Text("equity: waiting for the first reconciliation")
        self._live = Live(self._render(), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(self._render())
        self._live.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        self._events.append(event)
        self._live.update(self._render())

    def progress(self, progressed: Progressed) -> None:
        for name, (done, goal) in progressed.goals.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=goal)
            self._bars.update(self._tasks[name], completed=min(done, goal))
        if progressed.equity is not None:
            equity = progressed.equity
            self._equity = Text(
                f"equity {equity.total:.2f} (cash {equity.cash:.2f}, holdings {equity.holdings:.2f})   "
                f"market time {equity.as_of:%Y-%m-%d %H:%M}   {max(progressed.seconds_left, 0):.0f} s left"
            )
        self._live.update(self._render())

    def _render(self) -> Group:
        table = Table(expand=True, box=None, pad_edge=False)
        for heading in ("candle", "symbol", "decision", "verdict", "order", "tokens/s"):
            table.add_column(heading, no_wrap=True)
        table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
        for event in self._events:
            table.add_row(
                f"{event.candle:%m-%d %H:%M}",
                Text(printable(event.symbol)),
                event.decision,
                Text(event.verdict, style=_STYLES.get(event.verdict.split(" ")[0], "")),
                event.order,
                f"{event.speed:.0f}" if event.speed is not None else "",
                Text(printable(event.why)),
            )
        return Group(Panel(table, title="ALINA on a recorded market"), self._bars, self._equity)
