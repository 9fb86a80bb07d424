"""What a process works with. Built by bootstrap; every part can be replaced."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from alina.agents.base import Agent
from alina.config import Settings
from alina.domain.ports import Clock, Exchange, Memory, Model, Tool
from alina.exchange.candle_store import CandleStore
from alina.ledger import Ledger
from alina.risk.checks import CHECKS, Check


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

    @property
    def account(self) -> str:
        return self.settings.system.account
