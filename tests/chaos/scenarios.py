"""What an executor is doing while it is killed. Together they use every door of the path."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from proving_ground import Ground
from system import HOLD, NOW, System, proposal, scripted

from alina.domain.orders import OrderType, client_order_id_for
from alina.domain.portfolio import TradingState, WindDown
from alina.orchestrator import execution, polling, protection
from alina.orchestrator.runtime import Runtime

ORDER = {"method": "POST", "path": "/api/v3/order"}


@dataclass(frozen=True)
class Scenario:
    """How an account is left for the executor, and how it must end."""

    prepare: Callable[[Ground, Runtime], Runtime]
    ends: TradingState = TradingState.ACTIVE
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: the sites worth a kill, where others kill at the rest and waiting takes long; empty: all
    about: tuple[str, ...] = ()

    def is_about(self, point: str) -> bool:
        return not self.about or any(site in point for site in self.about)


def _trade(ground: Ground, runtime: Runtime) -> Runtime:
    """Buy, fill, sell, evaluate."""
    ground.wish(runtime)
    return runtime


def _with_fault(**fault: Any) -> Callable[[Ground, Runtime], Runtime]:
    """The same, and the first order meets a fault."""

    def prepare(ground: Ground, runtime: Runtime) -> Runtime:
        ground.wish(runtime)
        ground.script(**ORDER, **fault)
        return runtime

    return prepare


def _refused(ground: Ground, runtime: Runtime) -> Runtime:
    """A kernel without checks lets through what the exchange refuses with a clear word."""
    ground.wish(runtime, quantity=Decimal("0.01"))
    return replace(runtime, checks=())


def _held_run(ground: Ground, runtime: Runtime) -> Runtime:
    """A run whose message was lost."""
    model = scripted(HOLD)
    polling.start_runs(runtime, runtime.settings.market.symbols[0], NOW)
    return replace(runtime, model=lambda: model)


def _unevaluated(ground: Ground, runtime: Runtime) -> Runtime:
    """A closed trade whose evaluation's message was lost."""
    symbol = runtime.settings.market.symbols[0]
    execution.execute(runtime, proposal(System(runtime, symbol), stop_price=Decimal(1000)).id)
    protection.propose_exits(runtime, symbol)
    with runtime.unit_of_work() as uow:
        (sale,) = uow.ledger.undecided_proposals(older_than=NOW - NOW)
    execution.execute(runtime, sale)
    return runtime


def _given_up(ground: Ground, runtime: Runtime) -> Runtime:
    """An order that was hidden for longer than we waited, and is there after all."""
    symbol = runtime.settings.market.symbols[0]
    ground.script(**ORDER, kind="accept_then_rst", hidden_seconds="0.5")
    decision = execution.execute(runtime, proposal(System(runtime, symbol), stop_price=Decimal(1000)).id)
    deadline = time.monotonic() + 20
    while runtime.exchange.find(symbol, client_order_id_for(decision.id)) is None:
        assert time.monotonic() < deadline, "the order is shown"
        time.sleep(0.05)
    return runtime


def _cancelled(ground: Ground, runtime: Runtime) -> Runtime:
    """`alina halt --cancel` with an order resting."""
    one = System(runtime, runtime.settings.market.symbols[0])
    wish = proposal(one, order_type=OrderType.LIMIT, limit_price=Decimal("103.00"))
    execution.execute(runtime, wish.id)
    _stop(runtime, TradingState.HALTED, WindDown.CANCEL)
    return runtime


def _flattened(ground: Ground, runtime: Runtime) -> Runtime:
    """`alina halt --flatten` with a position held."""
    execution.execute(runtime, proposal(System(runtime, runtime.settings.market.symbols[0])).id)
    _stop(runtime, TradingState.REDUCING, WindDown.FLATTEN)
    return runtime


def _stop(runtime: Runtime, state: TradingState, wish: WindDown) -> None:
    with runtime.unit_of_work() as uow:
        uow.ledger.set_trading_state(runtime.account, state, reason="a drill", at=datetime.now(UTC))
        uow.ledger.ask_wind_down(runtime.account, wish)


SCENARIOS = {
    "a trade": Scenario(_trade),
    "a refused order": Scenario(_refused),
    "a lost answer": Scenario(_with_fault(kind="accept_then_rst")),
    "an order lost on its way": Scenario(_with_fault(kind="error_before")),
    "an order sent again": Scenario(
        _with_fault(kind="error_before"),
        sections={"execution": {"settle_after": "2s", "resend_max": 1}},
        about=("execution._absent", "execution._claim_resend", "execution._submit"),
    ),
    "an order given up that turns up": Scenario(
        _given_up, TradingState.REDUCING, about=("reconciliation.adopt_given_up",)
    ),
    "safe mode": Scenario(
        _with_fault(kind="error_before"), TradingState.REDUCING, {"error_handling": {"safe_mode_errors": 1}}
    ),
    "a lost run": Scenario(_held_run),
    "a lost evaluation": Scenario(_unevaluated),
    "halt and cancel": Scenario(_cancelled, TradingState.HALTED),
    "halt and flatten": Scenario(_flattened, TradingState.HALTED),
}
