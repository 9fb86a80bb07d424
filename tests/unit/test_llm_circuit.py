"""The circuit breaker, and several models behind breakers, against a clock of the test's own."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from alina.domain.runs import Completion, CompletionRequest, Message, ModelIdentity
from alina.errors import (
    ModelBudgetSpent,
    ModelBusy,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    ProviderUnavailable,
)
from alina.llm.circuit import Circuit, CircuitOpen
from alina.llm.fallback import Fallback

RESET = timedelta(seconds=60)
REQUEST = CompletionRequest(
    messages=(Message("user", "hold?"),),
    json_schema=None,
    max_tokens=10,
    temperature=Decimal(0),
    seed=1,
    deadline_seconds=Decimal(30),
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Failed(Exception):
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(failures=3, reset=RESET, clock=clock)


def succeed(circuit: Circuit) -> None:
    with circuit.call(lambda _: timedelta(0)):
        pass


def fail(circuit: Circuit, wait: timedelta | None = timedelta(0)) -> None:
    with pytest.raises(Failed), circuit.call(lambda _: wait):
        raise Failed


def open_(circuit: Circuit) -> None:
    for _ in range(3):
        fail(circuit)


def test_it_opens_at_so_many_failures_in_a_row(circuit: Circuit) -> None:
    fail(circuit)
    fail(circuit)
    succeed(circuit)
    fail(circuit)
    fail(circuit)
    succeed(circuit)
    open_(circuit)
    with pytest.raises(CircuitOpen) as caught:
        succeed(circuit)
    assert caught.value.wait == RESET


def test_after_the_reset_time_one_success_closes_it(circuit: Circuit, clock: Clock) -> None:
    open_(circuit)
    clock.now = 60
    succeed(circuit)
    fail(circuit)
    fail(circuit)
    succeed(circuit)


def test_a_failed_probe_opens_it_for_another_reset_time(circuit: Circuit, clock: Clock) -> None:
    open_(circuit)
    clock.now = 60
    fail(circuit)
    clock.now = 119
    with pytest.raises(CircuitOpen):
        succeed(circuit)
    clock.now = 120
    succeed(circuit)


def test_of_many_threads_exactly_one_probes(circuit: Circuit, clock: Clock) -> None:
    open_(circuit)
    clock.now = 60
    begin, end = threading.Barrier(8), threading.Barrier(8)
    probes: list[int] = []

    def call(number: int) -> None:
        begin.wait()
        try:
            with circuit.call(lambda _: timedelta(0)):
                probes.append(number)
                end.wait()  # the probe ends when all the others were refused
        except CircuitOpen:
            end.wait()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(probes) == 1
    succeed(circuit)


def test_a_probe_that_says_nothing_leaves_the_place_to_the_next(circuit: Circuit, clock: Clock) -> None:
    open_(circuit)
    clock.now = 60
    fail(circuit, wait=None)
    succeed(circuit)


def test_a_process_that_is_stopped_in_its_probe_is_no_failure(circuit: Circuit, clock: Clock) -> None:
    open_(circuit)
    clock.now = 60
    with pytest.raises(SystemExit), circuit.call(lambda _: None):
        raise SystemExit
    succeed(circuit)


def test_whoever_asks_to_be_left_alone_is_at_once_and_as_long(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, wait=timedelta(minutes=5))
    clock.now = 299
    with pytest.raises(CircuitOpen):
        succeed(circuit)
    clock.now = 300
    succeed(circuit)


def test_nobody_is_left_alone_for_longer_than_an_hour(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, wait=timedelta(days=3650))
    clock.now = 3600
    succeed(circuit)


def test_a_call_that_began_before_it_opened_neither_closes_nor_prolongs_it(
    circuit: Circuit, clock: Clock
) -> None:
    with circuit.call(lambda _: timedelta(0)):
        open_(circuit)
    clock.now = 30
    with pytest.raises(CircuitOpen):
        succeed(circuit)
    clock.now = 60
    succeed(circuit)


# Several models


class Double:
    """Does what the test says, and counts how often."""

    def __init__(self, name: str, does: Callable[[CompletionRequest], str] | ModelError) -> None:
        self.does, self.asked = does, 0
        self.identity = ModelIdentity(
            name=name, backend="scripted", sha256="0" * 64, build="1", context_length=100, threads=1
        )

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.asked += 1
        if on_text is not None:
            on_text(f"{self.identity.name} begins")
        if isinstance(self.does, ModelError):
            raise self.does
        return Completion(
            text=self.does(request),
            model=self.identity,
            prompt_tokens=1,
            completion_tokens=1,
            elapsed_ms=1,
            finish_reason="stop",
        )


def chain(*models: Double, failures: int = 2) -> Fallback:
    return Fallback(models, circuits=[Circuit(failures=failures, reset=RESET) for _ in models])


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("down"),
        ModelBusy("late"),
        ModelRefused("no such key"),
        ModelUnavailable("gone"),
        ModelBudgetSpent("spent"),
        ModelError("too long"),
    ],
)
def test_where_one_model_cannot_the_next_answers_and_is_named(error: ModelError) -> None:
    first, second = Double("first", error), Double("second", lambda _: "hold")
    both = chain(first, second)
    completion = both.complete(REQUEST)
    assert completion.text == "hold"
    assert completion.model.name == "second"
    assert both.identity.name == "first"


def test_what_a_model_wrote_before_it_failed_is_void_where_the_next_begins() -> None:
    told: list[str] = []
    both = chain(Double("first", ProviderUnavailable("broke off")), Double("second", lambda _: "hold"))
    both.complete(REQUEST, told.append)
    assert told == ["first begins", "", "second begins"]


def test_a_model_that_failed_is_left_alone_but_a_spent_budget_is_no_failure() -> None:
    failing = Double("first", ProviderUnavailable("down"))
    spent = Double("first", ModelBudgetSpent("spent"))
    for first, asked in ((failing, 2), (spent, 5)):
        both = chain(first, Double("second", lambda _: "hold"))
        for _ in range(5):
            both.complete(REQUEST)
        assert first.asked == asked


def test_of_an_only_model_its_own_error_is_raised() -> None:
    error = ModelRefused("no such key")
    with pytest.raises(ModelRefused) as caught:
        chain(Double("first", error)).complete(REQUEST)
    assert caught.value is error


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((ModelRefused("key"), ProviderUnavailable("down")), ModelBusy),
        ((ModelRefused("key"), ModelRefused("name")), ModelError),
        ((ModelBudgetSpent("money"), ModelBudgetSpent("calls")), ModelBudgetSpent),
    ],
)
def test_where_none_answers_all_their_reasons_are_told(
    errors: tuple[ModelError, ...], expected: type[ModelError]
) -> None:
    with pytest.raises(ModelError) as caught:
        chain(*(Double(str(error), error) for error in errors)).complete(REQUEST)
    assert type(caught.value) is expected
    assert str(errors[-1]) in str(caught.value)


def test_the_second_gets_what_is_left_of_the_deadline_and_nothing_is_asked_after_it() -> None:
    seen: list[Decimal] = []

    def tell(request: CompletionRequest) -> str:
        seen.append(request.deadline_seconds)
        return "hold"

    second = Double("second", tell)
    chain(Double("first", ModelBusy("late")), second).complete(REQUEST)
    assert seen[0] <= REQUEST.deadline_seconds
    with pytest.raises(ModelBusy):
        chain(Double("first", ModelBusy("late")), second).complete(
            replace(REQUEST, deadline_seconds=Decimal(0))
        )
    assert second.asked == 1


def test_an_open_circuit_says_how_long_it_lasts() -> None:
    both = chain(Double("first", ProviderUnavailable("down", retry_after=timedelta(seconds=90))))
    for _ in range(2):
        with pytest.raises(ProviderUnavailable) as caught:
            both.complete(REQUEST)
        wait = caught.value.retry_after
        assert wait is not None
        assert timedelta(seconds=30) < wait <= timedelta(seconds=90)
    assert caught.value.is_unanswered
