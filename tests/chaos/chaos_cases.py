"""What is done to a scenario, and what it came to."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random

from chaos_books import Findings, examine, state_of
from executor import KILLED, Fuse, KillAfter, Recorder, exit_code
from proving_ground import Ground, Stage
from scenarios import SCENARIOS, SETTLING, Scenario, trade
from venue_faults import ORDER_FAULTS

from alina.domain.portfolio import TradingState
from alina.orchestrator import reconciliation
from alina.venue.faults import FaultKind

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
#: what a batch buys and sells
SYMBOLS = 10
#: longer than the venue hides an order
LONGER = {"execution": {"settle_after": "3s", "resend_max": 1}}


@dataclass
class Result:
    """What one case came to."""

    #: its line of the table
    kind: str
    name: str
    faults: int = 0
    duplicates: int = 0
    lost: int = 0
    stuck: int = 0
    #: wall, from the last kill, or the first fault of the venue, until nothing was left to do
    seconds: float = 0.0
    #: the named point at which a process was killed
    killed_at: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KillAt:
    """Kill an executor when it meets a point for the n-th time, and let a fresh one go on."""

    scenario: str
    point: str
    occurrence: int = 1

    @property
    def name(self) -> str:
        return f"{self.scenario}, killed {self.point}, meeting {self.occurrence}"

    def run(self, ground: Ground) -> Result:
        scenario, result = SCENARIOS[self.scenario], Result(f"kill -9: {self.scenario}", self.name)
        with prepared(ground, scenario) as stage:
            if stage.is_killed(Fuse(self.point, self.occurrence).meet):
                result.faults, result.killed_at = 1, self.point
            converge(stage, result, scenario.ends)
        return result


@dataclass(frozen=True)
class KillAgain:
    """Kill one executor after another, each after so many points more."""

    scenario: str
    seed: int
    times: int = 5

    @property
    def name(self) -> str:
        return f"{self.scenario}, killed {self.times} times, seed {self.seed}"

    def run(self, ground: Ground) -> Result:
        scenario, result = SCENARIOS[self.scenario], Result("kill -9, five times over", self.name)
        draws = Random(self.name)
        with prepared(ground, scenario) as stage:
            for _ in range(self.times):
                result.faults += stage.is_killed(KillAfter(draws.randrange(1, 60)).meet)
            converge(stage, result, scenario.ends)
        return result


@dataclass(frozen=True)
class KillAtAnyMoment:
    """Kill executors from outside, between the points too: in the middle of a request or a commit."""

    seed: int
    times: int = 5

    @property
    def name(self) -> str:
        return f"a trade, killed {self.times} times at any moment, seed {self.seed}"

    def run(self, ground: Ground) -> Result:
        result, draws = Result("kill -9 at any moment", self.name), Random(self.seed)
        with prepared(ground, Scenario(trade, sections=SETTLING)) as stage:
            for _ in range(self.times):
                pid = stage.start()
                time.sleep(draws.random() * ground.pace / 2)
                os.kill(pid, signal.SIGKILL)  # not waited for yet: the pid is nobody else's
                result.faults += exit_code(pid, within=200) == KILLED
            converge(stage, result)
        return result


@dataclass(frozen=True)
class SideBySide:
    """Two executors at one account at the same time, as when a task is delivered twice; one is killed."""

    seed: int

    @property
    def name(self) -> str:
        return f"two executors of one account, seed {self.seed}"

    def run(self, ground: Ground) -> Result:
        result, draws = Result("two executors at once", self.name), Random(self.seed)
        with prepared(ground, Scenario(trade, sections=SETTLING)) as stage:
            other = stage.start(KillAfter(draws.randrange(1, 120)).meet)
            code = stage.run()
            result.faults = 1 + (exit_code(other, within=ground.limit) == KILLED)
            converge(stage, result)
        if code != 0:
            result.wrong.append(f"{self.name}: the other one failed with exit code {code}")
        return result


@dataclass(frozen=True)
class VenueFails:
    """Ten symbols bought and sold while every order and many a question meet a fault of the venue."""

    seed: int
    kills: int = 0

    @property
    def name(self) -> str:
        return f"faults of the venue, {self.kills} kills, seed {self.seed}"

    def run(self, ground: Ground) -> Result:
        kind = "faults of the venue" + (" and kill -9" if self.kills else "")
        result, draws = Result(kind, self.name), Random(self.seed)
        with ground.stage(symbols=SYMBOLS, sections=LONGER) as stage:
            stage.wish()
            _script_faults(stage, self.seed, draws)
            for _ in range(self.kills):
                result.faults += stage.is_killed(KillAfter(draws.randrange(20, 400)).meet)
            converge(stage, result)
            result.faults += sum(stage.faults.report()["met"].values())
        return result


Case = KillAt | KillAgain | KillAtAnyMoment | SideBySide | VenueFails


def _script_faults(stage: Stage, seed: int, draws: Random) -> None:
    """Twenty of the faults that an order can meet, and one in twenty of every other request."""
    first = seed * 2 * SYMBOLS % len(ORDER_FAULTS)
    for fault in [*ORDER_FAULTS[first:], *ORDER_FAULTS[:first]][: 2 * SYMBOLS]:
        stage.faults.add(**fault.script())
    for kind in READ_FAULTS:
        stage.faults.add(
            kind=kind, method="GET", count=5, probability="0.05", seed=draws.randrange(1000), seconds="0.1"
        )


@contextmanager
def prepared(ground: Ground, scenario: Scenario) -> Iterator[Stage]:
    """A stage as the scenario leaves it for the executor."""
    with ground.stage(sections=scenario.sections, **scenario.stage) as stage:
        stage.desk = replace(stage.desk, holds=scenario.holds)
        scenario.prepare(stage)
        yield stage


def points_of(ground: Ground, scenario: Scenario) -> list[str]:
    """Every point that a scenario meets, in order, from a run that nothing kills."""
    with prepared(ground, scenario) as stage:
        recorder = Recorder(ground.home / "points.txt")
        recorder.file.unlink(missing_ok=True)
        assert stage.run(recorder.meet) == 0, "nothing was in its way"
        return recorder.points()


def converge(stage: Stage, result: Result, ends: TradingState = TradingState.ACTIVE) -> None:
    """Let a fresh executor go on until nothing is left to do; then compare the books."""
    began = time.monotonic()
    code = stage.run()
    result.seconds = time.monotonic() - began
    if code != 0:
        result.stuck = 1
        result.wrong.append(f"{result.name}: not done (exit code {code})")
        return
    found = _examined(stage)
    result.duplicates, result.lost = found.duplicates, found.lost
    wrong = [*found.differences, *reconciliation.reconcile(stage.desk.executor)]
    state, reason = state_of(stage.desk)
    if state != ends:
        wrong.append(f"the account is {state} ({reason}), not {ends}")
    result.wrong += [f"{result.name}: {line}" for line in wrong]


def _examined(stage: Stage) -> Findings:
    """What is wrong once the venue shows everything: it may hide an order for a second."""
    deadline = time.monotonic() + 5
    while (found := examine(stage)).lost and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
