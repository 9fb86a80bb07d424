"""What models may use, looked at before each call: tokens, calls, seconds and money.

Before a call the most that it can take is reserved; after it, what it took is settled. A process that dies in
between leaves its reservation: too much is counted then, never too little.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Lock
from typing import Protocol
from uuid import UUID, uuid4

import structlog

from alina.config.settings import Allowance, ModelBudget, Price
from alina.domain.ports import Model
from alina.domain.records import Record
from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import ModelBudgetSpent, ModelError, TransientError
from alina.llm.limits import token_bound

log = structlog.get_logger(__name__)

_MILLION = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent(Record):
    """What calls took, or may take."""

    tokens: int = 0
    calls: int = 0
    #: wall time
    seconds: Decimal = Decimal(0)
    #: in the currency of models.prices
    money: Decimal = Decimal(0)

    def plus(self, other: "Spent") -> "Spent":
        return Spent(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose(Record):
    """For whom a model is asked."""

    agent: str = "nobody"
    #: None: no run of an agent, such as an experiment
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Record):
    """One call to a model, before it is made."""

    id: UUID
    purpose: Purpose
    model: str
    #: UTC
    day: date
    most: Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals(Record):
    """What was spent or reserved so far: by the run, by the agent that day, by all that day."""

    run: Spent
    agent: Spent
    day: Spent


class Spending(Protocol):
    """Where calls are counted. Both methods may raise DatabaseUnavailable or TransientError."""

    def reserve(self, call: Call, check: Callable[[Totals], None]) -> None:
        """Count the call at its most, if `check` does not raise; nobody else reserves in between."""
        ...

    def settle(self, call_id: UUID, spent: Spent) -> None:
        """Count what it took instead. Safe to repeat."""
        ...


_purpose: ContextVar[Purpose] = ContextVar("_purpose", default=Purpose())  # noqa: B039  # frozen


@contextmanager
def on_behalf_of(agent: str, run_id: UUID | None = None) -> Iterator[None]:
    """Models asked within are asked for this agent, and this run of it."""
    token = _purpose.set(Purpose(agent=agent, run_id=run_id))
    try:
        yield
    finally:
        _purpose.reset(token)


def _today() -> date:
    return datetime.now(UTC).date()


class Budgeted:
    """A `Model` that is asked only where `budget` has room for the most that the answer can take."""

    def __init__(
        self,
        model: Model,
        *,
        price: Price,
        budget: ModelBudget,
        spending: Spending,
        today: Callable[[], date] = _today,
    ) -> None:
        self._model, self._price, self._budget = model, price, budget
        self._spending, self._today = spending, today

    @property
    def identity(self) -> ModelIdentity:
        return self._model.identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Raises ModelBudgetSpent before the call, and what the model raises.

        DatabaseUnavailable where nobody can tell what is left: then no model is asked either.
        """
        call = self._call(request)
        self._spending.reserve(call, lambda totals: check(totals, call, self._budget))
        started = time.monotonic()
        try:
            completion = (
                self._model.complete(request) if on_text is None else self._model.complete(request, on_text)
            )
        except ModelError as error:
            if error.is_unanswered:
                self._settle(call, Spent(calls=1, seconds=_since(started)))
            raise
        self._settle(call, self._took(completion, _since(started)))
        return completion

    def _call(self, request: CompletionRequest) -> Call:
        prompt_tokens = token_bound(request)
        return Call(
            id=uuid4(),
            purpose=_purpose.get(),
            model=self._model.identity.name,
            day=self._today(),
            most=Spent(
                tokens=prompt_tokens + request.max_tokens,
                calls=1,
                seconds=max(request.deadline_seconds, Decimal(0)),
                money=self._cost(prompt_tokens, request.max_tokens),
            ),
        )

    def _took(self, completion: Completion, seconds: Decimal) -> Spent:
        prompt_tokens, answer_tokens = completion.prompt_tokens, completion.completion_tokens
        return Spent(
            tokens=prompt_tokens + answer_tokens,
            calls=1,
            seconds=seconds,
            money=self._cost(prompt_tokens, answer_tokens),
        )

    def _cost(self, prompt_tokens: int, answer_tokens: int) -> Decimal:
        return (prompt_tokens * self._price.input + answer_tokens * self._price.output) / _MILLION

    def _settle(self, call: Call, spent: Spent) -> None:
        """The answer is here and paid: that it cannot be counted now is no reason to lose it."""
        try:
            self._spending.settle(call.id, spent)
        except TransientError as error:
            log.warning("call not settled, its reservation stays", call=str(call.id), error=str(error))


def check(totals: Totals, call: Call, budget: ModelBudget) -> None:
    """Raises ModelBudgetSpent naming the first limit that the call could pass."""
    if call.purpose.run_id is not None:
        _check("run", totals.run, call.most, budget.run, "this run ends without")
    _check("agent", totals.agent, call.most, budget.agent, f"{call.purpose.agent} waits for the next UTC day")
    _check("day", totals.day, call.most, budget.day, "all wait for the next UTC day")


def _check(scope: str, spent: Spent, most: Spent, allowance: Allowance, consequence: str) -> None:
    limits = {each.name: getattr(allowance, each.name) for each in fields(Spent)}
    after = asdict(spent.plus(most))
    for name, limit in limits.items():
        if limit is not None and after[name] > limit:
            raise ModelBudgetSpent(
                f"models.budget.{scope}.{name} is {limit}: {getattr(spent, name)} are spent or reserved and "
                f"this call may take {getattr(most, name)}; {consequence}, or raise the limit",
                is_unanswered=True,
            )


def _since(started: float) -> Decimal:
    return Decimal(str(round(time.monotonic() - started, 3)))


class ProcessSpending:
    """Spending that this process counts for itself and forgets: for commands without a database."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[UUID, Call] = {}
        self._spent: dict[UUID, Spent] = {}

    def reserve(self, call: Call, check: Callable[[Totals], None]) -> None:
        with self._lock:
            check(self._totals(call))
            self._calls[call.id], self._spent[call.id] = call, call.most

    def settle(self, call_id: UUID, spent: Spent) -> None:
        with self._lock:
            self._spent[call_id] = spent

    def _totals(self, call: Call) -> Totals:
        known = self._calls.values()
        today = [other for other in known if other.day == call.day]
        return Totals(
            run=self._sum(other for other in known if other.purpose.run_id == call.purpose.run_id),
            agent=self._sum(other for other in today if other.purpose.agent == call.purpose.agent),
            day=self._sum(today),
        )

    def _sum(self, calls: Iterable[Call]) -> Spent:
        total = Spent()
        for call in calls:
            total = total.plus(self._spent[call.id])
        return total
