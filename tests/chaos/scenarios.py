"""What an executor is doing while it is killed. Together they use every door of the path."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from celery.exceptions import SoftTimeLimitExceeded
from proving_ground import ACCOUNT, Stage
from sqlalchemy import text
from system import BUY, HOLD, HOUR, NOW, proposal
from venue_faults import PLACE_ORDER

from alina.domain.evaluation import CasePart, Experiment, ExperimentCase, ExperimentState
from alina.domain.orders import Order, OrderSide, OrderType, client_order_id_for
from alina.domain.portfolio import CloseReason, TradingState, WindDown
from alina.domain.ports import Model
from alina.orchestrator import cycle, execution, polling, review, stops

#: the market stands at 105
STOP = Decimal(100)
#: the name of an order that somebody else places; it never fills
FOREIGN = "by-hand"


@dataclass(frozen=True)
class Scenario:
    """How an account is left for the executor, and how it must end."""

    prepare: Callable[[Stage], None]
    ends: TradingState = TradingState.ACTIVE
    #: settings that differ
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: what `Ground.stage` is told besides
    stage: Mapping[str, Any] = field(default_factory=dict)
    #: whether at the end a position may be held, if a stop order rests for it
    holds: bool = False
    #: the sites worth a kill, where others kill at the rest and waiting takes long; empty: all
    about: tuple[str, ...] = ()

    def is_about(self, point: str) -> bool:
        return not self.about or any(site in point for site in self.about)


def trade(stage: Stage) -> None:
    """Buy, fill, sell, evaluate."""
    stage.wish()


def _with_fault(**fault: Any) -> Callable[[Stage], None]:
    """The same, and the first order meets a fault."""

    def prepare(stage: Stage) -> None:
        stage.wish()
        stage.faults.add(**PLACE_ORDER, **fault)

    return prepare


def _refused(stage: Stage) -> None:
    """A kernel without checks lets through what the exchange refuses with a clear word."""
    stage.without_checks()
    stage.wish(quantity=Decimal("0.01"))


def _nothing(stage: Stage) -> None:
    """The agent has a candle to look at."""


def _lost_run(stage: Stage) -> None:
    """A run whose message was lost."""
    polling.start_runs(stage.desk.agent, stage.symbols[0], NOW)


def _revoked_run(stage: Stage) -> None:
    """The same, and its task is revoked whenever the model is asked."""
    _lost_run(stage)
    stage.desk = replace(stage.desk, agent=replace(stage.desk.agent, model=_is_revoked))


def _is_revoked() -> Model:
    raise SoftTimeLimitExceeded


def _unevaluated(stage: Stage) -> None:
    """A closed trade whose evaluation's message was lost."""
    (wish,) = stage.wish()
    execution.execute(stage.desk.executor, wish.id)
    polling.poll(stage.desk.agent)
    with stage.desk.agent.unit_of_work() as uow:
        (sale,) = uow.ledger.undecided_proposals(older_than=NOW - NOW)
    execution.execute(stage.desk.executor, sale)


def _experiment(stage: Stage) -> None:
    """An experiment whose message was lost, with one case that the challenger has not answered."""
    agent = stage.desk.agent
    run = cycle.run(agent, agent_name="trading", symbol=stage.symbols[0], as_of=NOW - 9 * HOUR, key="a run")
    with agent.unit_of_work() as uow:
        champion = uow.ledger.active_revision("trading")
        challenger = uow.ledger.ensure_revision(
            "trading",
            system=f"{champion.system} Think twice.",
            template=champion.template,
            author="optimizer",
            parent_id=champion.id,
        )
        experiment = Experiment(
            id=uuid4(),
            key="an experiment",
            prompt="trading",
            champion_id=champion.id,
            challenger_id=challenger.id,
            state=ExperimentState.RUNNING,
            split_at=run.as_of,
            cases=1,
        )
        uow.ledger.save_experiment(experiment)
        case = ExperimentCase(
            experiment_id=experiment.id,
            run_id=run.id,
            part=CasePart.HELD_OUT,
            champion_score=Decimal("0.5"),
            challenger_score=None,
        )
        uow.ledger.save_case(case)


def _given_up(stage: Stage) -> None:
    """An order that was hidden for longer than we waited, and is there after all."""
    stage.faults.add(**PLACE_ORDER, kind="accept_then_rst", hidden_seconds="0.5")
    (wish,) = stage.wish()
    decision = execution.execute(stage.desk.executor, wish.id)
    deadline = time.monotonic() + 200
    while stage.desk.executor.exchange.find(wish.symbol, client_order_id_for(decision.id)) is None:
        assert time.monotonic() < deadline, "the order is shown"
        time.sleep(0.05)


def _dust(stage: Stage) -> None:
    """A buy that found half of what it asked for, too little to be sold again."""
    stage.faults.add(**PLACE_ORDER, kind="partial_fill_then_drop")
    stage.wish(quantity=Decimal("0.15"))


def _edited(stage: Stage) -> None:
    """An approval whose proposal was edited by somebody who may do everything, an hour ago."""
    (wish,) = stage.wish()
    review.decide(stage.desk.executor, review.read(stage.desk.executor, wish.id))
    with stage.ground.owner.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger fires
        connection.execute(text("UPDATE proposals SET quantity = 2"))
    stage.move_on(1)


def _foreign(stage: Stage) -> None:
    """An order that somebody else has placed in the account."""
    order = Order(
        client_order_id=FOREIGN,
        account=ACCOUNT,
        symbol=stage.symbols[0],
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        quantity=Decimal(1),
        limit_price=Decimal("60.00"),
    )
    stage.desk.executor.exchange.submit(order, signed_at=datetime.now(UTC))


def _entered(stage: Stage) -> None:
    """A position is held, and its stop not placed yet."""
    (wish,) = stage.wish(stop_price=STOP)
    execution.execute(stage.desk.executor, wish.id)


def _protected(stage: Stage) -> None:
    """A position is held, and its stop rests on the exchange."""
    _entered(stage)
    stops.protect(stage.desk.executor)


def _stop_hidden(stage: Stage) -> None:
    """The stop that is placed next is not shown at once."""
    _entered(stage)
    stage.faults.add(**PLACE_ORDER, kind="delayed_visibility", hidden_seconds="1")


def _exit(**terms: Any) -> Callable[[Stage], None]:
    """The agent's wish to sell while the stop rests. Given up, it leaves the position as it was."""

    def prepare(stage: Stage) -> None:
        _protected(stage)
        proposal(stage.system, OrderSide.SELL, "0.999", close_reason=CloseReason.AGENT, **terms)

    return prepare


def _stop_passed(stage: Stage) -> None:
    """The price falls past the stop while nobody looks."""
    _protected(stage)
    stage.move_on(1)


def _stop_passed_in_a_thin_market(stage: Stage) -> None:
    """The same, and of the sale after it only half finds a buyer."""
    _stop_passed(stage)
    stage.faults.add(**PLACE_ORDER, kind="partial_fill_then_drop")


def _cancelled(stage: Stage) -> None:
    """`alina halt --cancel` with an order resting."""
    (wish,) = stage.wish(order_type=OrderType.LIMIT, limit_price=Decimal("103.00"))
    execution.execute(stage.desk.executor, wish.id)
    _stop(stage, TradingState.HALTED, WindDown.CANCEL)


def _flattened(stage: Stage) -> None:
    """`alina halt --flatten` with a position held and its stop resting."""
    _protected(stage)
    _stop(stage, TradingState.REDUCING, WindDown.FLATTEN)


def _stop(stage: Stage, state: TradingState, wish: WindDown) -> None:
    with stage.ground.unit_of_work("owner")() as uow:
        uow.ledger.set_trading_state(ACCOUNT, state, reason="a drill", at=datetime.now(UTC))
        uow.ledger.ask_wind_down(ACCOUNT, wish)


#: site -> why no scenario can meet it
UNREACHABLE: Mapping[str, str] = {}
#: an absence of so long proves something, as in production, and an order that never arrived is sent again
SETTLING = {"execution": {"settle_after": "2s", "resend_max": 1}}
_FEES_IN_BNB = {
    "more": ("BNB/USDT",),
    "venue": {
        "fee_asset": "BNB",
        "fee_asset_prices": {"USDT": Decimal(600)},
        "balances": {"USDT": Decimal(1_000_000), "BNB": Decimal(10)},
    },
}

_ABOUT_STOPS = ("stops.", "execution.", "protection.", "comparison._compare_resting")

_ABOUT_HALTS = ("winding_down.", "execution.", "halting.", "sweeping.")

SCENARIOS: Mapping[str, Scenario] = {
    "a trade": Scenario(trade),
    "a run": Scenario(
        _nothing,
        stage={"answers": (BUY,)},
        holds=True,
        about=("polling.", "cycle.", "learning.", "sweeping."),
    ),
    "a lost run": Scenario(_lost_run, stage={"answers": (HOLD,)}, about=("sweeping.", "cycle.")),
    "a revoked run": Scenario(
        _revoked_run, stage={"answers": (HOLD,)}, about=("cycle.stop", "cycle._finish")
    ),
    "a refused order": Scenario(_refused, about=("execution.",)),
    "a lost answer": Scenario(_with_fault(kind="accept_then_rst"), about=("execution.",)),
    "an order lost on its way": Scenario(_with_fault(kind="error_before"), about=("execution.",)),
    "an order sent again": Scenario(
        _with_fault(kind="error_before"),
        sections=SETTLING,
        about=("execution._absent", "execution._claim_resend", "execution._submit"),
    ),
    "an order given up that turns up": Scenario(
        _given_up, TradingState.REDUCING, about=("reconciliation._report", "reconciliation.adopt_given_up")
    ),
    "an approval edited": Scenario(_edited, about=("execution.",)),
    "an order of somebody else": Scenario(
        _foreign, TradingState.REDUCING, about=("comparison.", "foreign.", "reconciliation.")
    ),
    "an entry and its stop": Scenario(_entered, holds=True, about=_ABOUT_STOPS),
    "a stop that is not shown": Scenario(
        _stop_hidden, sections=SETTLING, holds=True, about=("comparison._compare_resting",)
    ),
    "an exit past a stop": Scenario(_exit(), holds=True, about=(*_ABOUT_STOPS, "review.", "snapshot.")),
    "an exit denied past a stop": Scenario(
        _exit(order_type=OrderType.LIMIT, limit_price=Decimal("104.005")), holds=True, about=_ABOUT_STOPS
    ),
    "a stop filled unseen": Scenario(_stop_passed, stage={"later": [(105, 90)]}, about=_ABOUT_STOPS),
    "a stop jumped over": Scenario(_stop_passed, stage={"later": [(105, 105), (90, 90)]}, about=_ABOUT_STOPS),
    "a stop in a thin market": Scenario(
        _stop_passed_in_a_thin_market,
        sections={"execution": {"stop_patience": "300ms"}},
        stage={"later": [(105, 105), (90, 90)]},
        about=_ABOUT_STOPS,
    ),
    "safe mode": Scenario(
        _with_fault(kind="error_before"),
        TradingState.REDUCING,
        {"error_handling": {"safe_mode_errors": 1}},
        about=("halting.",),
    ),
    "fees in a third asset": Scenario(trade, stage=_FEES_IN_BNB, about=("execution.settle", "execution.fee")),
    "dust": Scenario(_dust, about=("protection.", "learning.evaluate")),
    "a lost evaluation": Scenario(_unevaluated, about=("sweeping.", "learning.")),
    "an experiment": Scenario(
        _experiment,
        sections={"trading": {"gate_always_ask": True, "proposal_ttl": "1d"}},
        stage={"answers": (HOLD,)},
        about=("sweeping.", "learning."),
    ),
    "halt and cancel": Scenario(_cancelled, TradingState.HALTED, about=_ABOUT_HALTS),
    "halt and flatten": Scenario(_flattened, TradingState.HALTED, about=_ABOUT_HALTS),
}
