"""Every point at which the process may die: before and after each commit, request and message.

The points are not written down anywhere. A site is a use of one of the runtime's three doors
(`unit_of_work`, `exchange`, `send`) in the source of alina.orchestrator; it has two points. The doors are
wrapped in tests only: production code has no hooks, and a call site that is added is a point at once.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import alina.orchestrator
from alina.orchestrator.runtime import Runtime, UnitOfWork

FOLDER = Path(alina.orchestrator.__file__).parent
#: modules that read and log only, or run beside the workers; every other module with a door is on the path
ELSEWHERE = frozenset({"health", "replay", "maintenance", "supervisor", "processes", "restarts", "stack"})


@dataclass(frozen=True, slots=True)
class Site:
    """One use of a door: `execution._submit exchange.submit` or, if it is one of several, `... 2`."""

    name: str
    #: where its expression begins: two doors may stand in one line
    line: int
    column: int


@cache
def sites(module: str) -> tuple[Site, ...]:
    """Every use of a door in one module of the orchestrator, in the order of the source."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    found: list[Site] = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            found += _sites_of(module, function)
    return tuple(found)


def points_of_the_path() -> frozenset[str]:
    """Both points of every site, by name."""
    modules = sorted({file.stem for file in FOLDER.glob("*.py")} - ELSEWHERE)
    names = [site.name for module in modules for site in sites(module)]
    return frozenset(f"{when} {name}" for when in ("before", "after") for name in names)


def _sites_of(module: str, function: ast.FunctionDef) -> Iterator[Site]:
    uses = [
        (node.lineno, node.col_offset, door)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute | ast.Call) and (door := _door(node)) is not None
    ]
    count: dict[str, int] = {}
    for line, column, door in sorted(uses):
        count[door] = count.get(door, 0) + 1
        number = f" {count[door]}" if count[door] > 1 else ""
        yield Site(f"{module}.{function.name} {door}{number}", line, column)


def _door(node: ast.Attribute | ast.Call) -> str | None:
    """The door that an expression opens: `runtime.send`, `runtime.exchange.find`, `exchange.find`.

    A call that is handed the whole exchange, `sync(runtime.exchange, ...)`, is a door too.
    """
    if isinstance(node, ast.Call):
        is_handed = any(isinstance(one, ast.Attribute) and _is_exchange(one) for one in node.args)
        return "exchange" if is_handed else None
    owner, name = node.value, node.attr
    if isinstance(owner, ast.Name) and owner.id == "runtime" and name in ("unit_of_work", "send"):
        return "commit" if name == "unit_of_work" else "send"
    is_exchange = isinstance(owner, ast.Attribute) and _is_exchange(owner)
    if is_exchange or (isinstance(owner, ast.Name) and owner.id == "exchange"):
        return f"exchange.{name}"
    return None


def _is_exchange(node: ast.Attribute) -> bool:
    """`runtime.exchange`; `settings.market.exchange` is a section of the settings."""
    return node.attr == "exchange" and isinstance(node.value, ast.Name)


def site_of_caller() -> str:
    """The site that is running now: where the innermost frame of the orchestrator's own source stands."""
    frame = sys._getframe(1)
    while Path(frame.f_code.co_filename).parent != FOLDER:
        if frame.f_back is None:
            raise AssertionError("a door was opened from outside of the orchestrator")
        frame = frame.f_back
    module = Path(frame.f_code.co_filename).stem
    place = _place(frame)
    for site in sites(module):
        if (site.line, site.column) == place:
            return site.name
    raise AssertionError(f"{module}.py line {place[0]} opens a door that its source does not name")


def _place(frame: FrameType) -> tuple[int | None, int | None]:
    """Line and column at which the expression begins that the frame is at (PEP 657)."""
    positions = list(frame.f_code.co_positions())
    line, _, column, _ = positions[frame.f_lasti // 2]
    return line, column


def with_points(runtime: Runtime, meet: Callable[[str], None]) -> Runtime:
    """The same runtime, meeting its points by name: "before execution._submit exchange.submit"."""

    def unit_of_work() -> AbstractContextManager[UnitOfWork]:
        return _committing(site_of_caller())

    @contextmanager
    def _committing(site: str) -> Iterator[UnitOfWork]:
        with runtime.unit_of_work() as uow:
            yield uow
            meet(f"before {site}")
        meet(f"after {site}")

    def send(*message: Any) -> None:
        site = site_of_caller()
        meet(f"before {site}")
        runtime.send(*message)
        meet(f"after {site}")

    exchange: Any = _Requests(runtime.exchange, meet)
    return replace(runtime, unit_of_work=unit_of_work, send=send, exchange=exchange)


class _Requests:
    """The exchange, with a point before each request leaves and one after its answer."""

    def __init__(self, exchange: object, meet: Callable[[str], None]) -> None:
        self._exchange, self._meet = exchange, meet

    def __getattr__(self, name: str) -> Callable[..., Any]:
        site = site_of_caller()

        def request(*arguments: Any, **more: Any) -> Any:
            self._meet(f"before {site}")
            answer = getattr(self._exchange, name)(*arguments, **more)
            self._meet(f"after {site}")
            return answer

        return request
