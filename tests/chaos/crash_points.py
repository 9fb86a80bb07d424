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
from typing import Any

import alina.orchestrator
from alina.orchestrator.runtime import Runtime, UnitOfWork

FOLDER = Path(alina.orchestrator.__file__).parent


@dataclass(frozen=True, slots=True)
class Site:
    """One use of a door: `execution._submit exchange.submit` or, if it is one of several, `... 2`."""

    module: str
    name: str
    first_line: int
    last_line: int


@cache
def sites(module: str) -> tuple[Site, ...]:
    """Every use of a door in one module of the orchestrator, in the order of the source."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    found: list[Site] = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            found += _sites_of(module, function)
    return tuple(found)


def _sites_of(module: str, function: ast.FunctionDef) -> Iterator[Site]:
    uses = [
        (node, door)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and (door := _door(node)) is not None
    ]
    count: dict[str, int] = {}
    for node, door in sorted(uses, key=lambda use: (use[0].lineno, use[0].col_offset)):
        count[door] = count.get(door, 0) + 1
        number = f" {count[door]}" if count[door] > 1 else ""
        yield Site(module, f"{module}.{function.name} {door}{number}", node.lineno, node.end_lineno or 0)


def _door(node: ast.Attribute) -> str | None:
    """The door that an expression names: `runtime.send`, `runtime.exchange.find`, `exchange.find`."""
    owner, name = node.value, node.attr
    if isinstance(owner, ast.Name) and owner.id == "runtime" and name in ("unit_of_work", "send"):
        return "commit" if name == "unit_of_work" else "send"
    if isinstance(owner, ast.Attribute) and owner.attr == "exchange":
        owner = owner.value  # of a runtime; `settings.market.exchange` is no door
        return f"exchange.{name}" if isinstance(owner, ast.Name) else None
    if isinstance(owner, ast.Name) and owner.id == "exchange":
        return f"exchange.{name}"
    return None


def site_of_caller() -> str:
    """The site that is running now: the innermost frame of the orchestrator's own source."""
    frame = sys._getframe(1)
    while Path(frame.f_code.co_filename).parent != FOLDER:
        if frame.f_back is None:
            raise AssertionError("a door was opened from outside of the orchestrator")
        frame = frame.f_back
    module = Path(frame.f_code.co_filename).stem
    line = frame.f_lineno
    for site in sites(module):
        if site.first_line <= line <= site.last_line:
            return site.name
    raise AssertionError(f"{module}.py line {line} opens a door that its source does not name")


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
