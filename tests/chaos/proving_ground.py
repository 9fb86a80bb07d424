"""A venue and a ledger, cases that trade on them while something fails, and what is counted afterwards."""

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ccxt
from executor import Fuse, KillAfter, forked, trade_until_done, units_of_work
from system import KEYS, NOW, RunningVenue, System, migrated, running_venue, settings_for
from system import proposal as save_proposal
from venue_faults import ORDER_FAULTS

from alina import bootstrap
from alina.domain.portfolio import TradingState
from alina.orchestrator import polling, reconciliation
from alina.orchestrator.runtime import Runtime
from alina.venue.ccxt_options import venue_options
from alina.venue.faults import FaultKind

if TYPE_CHECKING:
    from scenarios import Scenario

#: what a question to the venue may meet
READ_FAULTS = (
    FaultKind.ERROR_BEFORE,
    FaultKind.ERROR_AFTER,
    FaultKind.ACCEPT_THEN_FIN,
    FaultKind.ACCEPT_THEN_RST,
    FaultKind.TRUNCATED_BODY,
    FaultKind.HTML_200,
    FaultKind.DUPLICATED_RESPONSE,
    FaultKind.TIMEOUT_BEFORE,
    FaultKind.TOO_MANY_REQUESTS,
    FaultKind.CLOCK_DRIFT,
    FaultKind.DELAY,
)
KILLED = -signal.SIGKILL
#: what a case's kernel must not deny: the cases are about orders, not about limits
SECTIONS: dict[str, dict[str, Any]] = {
    "error_handling": {"stuck_after": "1ms", "safe_mode_errors": 100_000},
    "risk": dict.fromkeys(
        ("max_order_rate", "max_open_positions", "max_stop_losses", "max_losses_in_a_row", "max_exposure")
    ),
}


@dataclass
class Result:
    """What a case, or all cases of a name, came to."""

    name: str
    runs: int = 0
    faults: int = 0
    duplicates: int = 0
    lost: int = 0
    stuck: int = 0
    #: wall, the slowest
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Result") -> "Result":
        self.runs, self.faults = self.runs + other.runs, self.faults + other.faults
        self.duplicates, self.lost = self.duplicates + other.duplicates, self.lost + other.lost
        self.stuck, self.seconds = self.stuck + other.stuck, max(self.seconds, other.seconds)
        self.wrong += other.wrong
        return self


@dataclass
class Ground:
    """One venue and one ledger; the cases on it run one after the other, each with an account of its own."""

    venue: RunningVenue
    database_url: str
    #: on connections that no executor has
    unit_of_work: Callable[[], Any]

    def account(self, symbols: int, **sections: Mapping[str, Any]) -> Runtime:
        """A new account that holds what the venue's account holds now, with no fault left from before."""
        self.clear_faults()
        names = [self.venue.symbol() for _ in range(symbols)]
        merged = {key: {**SECTIONS.get(key, {}), **sections.get(key, {})} for key in {*SECTIONS, *sections}}
        market = {"symbols": tuple(names), "venue": {"data": tuple(f"{one}=candles.csv" for one in names)}}
        merged["market"] = market | merged.get("market", {})
        settings = settings_for(self.venue.home, names[0], f"c{uuid4().hex[:12]}", **merged)
        runtime = bootstrap.make_runtime(
            settings,
            database_url=self.database_url,
            send=lambda *_: None,
            exchange=self.venue.exchange,
            clock=self.venue.clock,
        )
        runtime = replace(runtime, unit_of_work=self.unit_of_work)
        bootstrap.prepare_ledger(settings, database_url=self.database_url)
        for name in names:
            polling.poll_symbol(runtime, name)
        with runtime.unit_of_work() as uow:
            uow.ledger.record_balances(runtime.account, runtime.exchange.balances(), at=NOW)
        return runtime

    def wish(self, runtime: Runtime, **changes: Any) -> None:
        """A buy of each symbol, whose position must be sold as soon as it is there."""
        for symbol in runtime.settings.market.symbols:
            save_proposal(System(runtime, symbol), **{"stop_price": Decimal(1000), **changes})

    def run(self, runtime: Runtime, meet: Callable[[str], None]) -> int:
        """One executor process; its exit code."""
        self.venue.exchange.close()  # type: ignore[attr-defined]  # no connection is shared with a child
        return forked(lambda: trade_until_done(runtime, self.database_url, meet))

    def faults_met(self) -> int:
        """How many requests have met a fault of the venue's door."""
        with urllib.request.urlopen(f"{self.venue.url}/venue/v1/faults", timeout=10) as answer:  # noqa: S310
            return sum(json.load(answer)["met"].values())

    def clear_faults(self) -> None:
        """Forget the faults that nobody has met yet."""
        request = urllib.request.Request(f"{self.venue.url}/venue/v1/faults", method="DELETE")  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def script(self, **fault: Any) -> None:
        """Script a fault of the venue."""
        body = json.dumps(fault).encode()
        request = urllib.request.Request(f"{self.venue.url}/venue/v1/faults", data=body)  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def converge(
        self, name: str, runtime: Runtime, *, faults: int, ends: TradingState = TradingState.ACTIVE
    ) -> Result:
        """A fresh executor goes on until nothing is left to do; then the books are compared."""
        started = time.monotonic()
        code = self.run(runtime, lambda _: None)
        result = Result(name, runs=1, faults=faults, seconds=time.monotonic() - started)
        if code != 0:
            result.stuck = 1
            result.wrong.append(f"{name}: not done (exit code {code})")
            return result
        self._compare(result, runtime, ends)
        return result

    def _compare(self, result: Result, runtime: Runtime, ends: TradingState) -> None:
        with runtime.unit_of_work() as uow:
            trails = [
                trail
                for symbol in runtime.settings.market.symbols
                for trail in uow.ledger.decisions(limit=1000, symbol=symbol)
            ]
            state = uow.ledger.account(runtime.account)
        orders = [trail.order for trail in trails if trail.order is not None]
        ours = {one.order.client_order_id for one in orders if one.exchange_order_id is not None}
        theirs = self.on_venue(runtime)
        result.duplicates = (len(theirs) - len(set(theirs))) + (
            len(orders) - len({trail.proposal.id for trail in trails if trail.order is not None})
        )
        result.lost = len(set(theirs) ^ ours)
        for symbol in runtime.settings.market.symbols:
            bought = [one for one in orders if one.order.symbol == symbol and one.order.side == "buy"]
            result.duplicates += max(0, len(bought) - 1)
        wrong = reconciliation.reconcile(runtime)
        if result.duplicates or result.lost:
            wrong.append(f"orders {sorted(ours)} here, {sorted(theirs)} on the venue")
        if state.trading_state is not ends:
            wrong.append(f"{state.trading_state}: {state.reason}")
        result.wrong += [f"{result.name}: {line}" for line in wrong]

    def on_venue(self, runtime: Runtime) -> list[str]:
        """The client order ids of every order that the venue has of these symbols."""
        client = ccxt.binance(
            {**venue_options(self.venue.url), "enableRateLimit": False}
            | {"apiKey": KEYS.api_key, "secret": KEYS.secret}
        )
        try:
            return [
                str(order["clientOrderId"])
                for symbol in runtime.settings.market.symbols
                for order in client.fetch_orders(symbol, limit=1000)
            ]
        finally:
            client.close()


@contextmanager
def proving_ground(home: Path, postgres: str, *, symbols: int) -> Iterator[Ground]:
    """A venue of so many symbols, and a database of its own."""
    with running_venue(home, symbols=symbols) as venue, migrated(postgres) as url:
        yield Ground(venue, url, units_of_work(url))


def points_of(ground: Ground, record: Path, scenario: "Scenario") -> list[str]:
    """Every point that one scenario meets, in order, from a run that nothing kills."""
    runtime = scenario.prepare(ground, ground.account(1, **scenario.sections))
    assert ground.run(runtime, Fuse(record=record).meet) == 0
    return record.read_text().splitlines()


def kill_at(ground: Ground, scenario: "Scenario", point: str, occurrence: int) -> Result:
    """Kill an executor at one point, and let a fresh one go on."""
    runtime = scenario.prepare(ground, ground.account(1, **scenario.sections))
    code = ground.run(runtime, Fuse(point, occurrence).meet)
    return ground.converge(point, runtime, faults=int(code == KILLED), ends=scenario.ends)


def kill_again_and_again(ground: Ground, scenario: "Scenario", points: Sequence[int]) -> Result:
    """Kill one executor after another, each after so many points more."""
    runtime = scenario.prepare(ground, ground.account(1, **scenario.sections))
    killed = sum(ground.run(runtime, KillAfter(number).meet) == KILLED for number in points)
    return ground.converge(f"killed after {points} points", runtime, faults=killed, ends=scenario.ends)


def trade_through_faults(ground: Ground, seed: int) -> Result:
    """Ten symbols bought and sold while every order and many a question meet a fault of the venue."""
    draws = Random(seed)
    runtime = ground.account(10, execution={"settle_after": "3s", "resend_max": 1})
    ground.wish(runtime)
    before = ground.faults_met()
    first = seed * 20 % len(ORDER_FAULTS)
    for fault in [*ORDER_FAULTS[first:], *ORDER_FAULTS[:first]][:20]:
        ground.script(**fault.script())
    for kind in READ_FAULTS:
        ground.script(
            kind=kind, method="GET", count=5, probability="0.05", seed=draws.randrange(1000), seconds="0.1"
        )
    result = ground.converge("faults of the venue", runtime, faults=0)
    ground.clear_faults()
    result.faults = ground.faults_met() - before
    return result
