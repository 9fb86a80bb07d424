"""What a process works with. Built by bootstrap; every part can be replaced."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from uuid import UUID

from alina.agents.base import Agent
from alina.config import Settings
from alina.domain.ports import AnswerStream, Clock, Exchange, Memory, Model, Tool
from alina.exchange.candle_store import CandleStore
from alina.ledger import Ledger
from alina.llm.streaming import silent
from alina.risk.checks import CHECKS, Check
from alina.risk.limits import Limits

#: limits that are sets, which the settings write as lists
_SETS = ("symbols", "allowed_assets", "denied_assets")


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One database transaction and the stores that share it: all of it commits, or nothing."""

    ledger: Ledger
    candles: CandleStore
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts of one process."""

    settings: Settings
    clock: Clock
    exchange: Exchange
    unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    #: loads the model on first use, in this process
    model: Callable[[], Model]
    agents: Mapping[str, Agent]
    tools: tuple[Tool, ...]
    #: enqueues a task by name with JSON-ready arguments; call it after commit only
    send: Callable[..., None]
    #: of the kernel, as `risk.checks` composes them
    checks: tuple[Check, ...] = CHECKS
    #: where the answer of a run is told while it is written
    stream: Callable[[UUID], AnswerStream] = silent
    #: of the settings; a review holds the account's lock and does not work them out again
    limits: Limits = field(init=False)
    stop_file: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", limits(self.settings))
        object.__setattr__(self, "stop_file", self.settings.stop_file)

    @property
    def account(self) -> str:
        return self.settings.system.account


def limits(settings: Settings) -> Limits:
    """The kernel's limits from the settings."""
    risk = settings.risk
    plain = {one.name: getattr(risk, one.name) for one in fields(Limits) if one.name not in _SETS}
    allowed = None if risk.allowed_assets is None else frozenset(risk.allowed_assets)
    return Limits(
        **plain,
        symbols=frozenset(settings.market.symbols),
        allowed_assets=allowed,
        denied_assets=frozenset(risk.denied_assets),
    )
