"""What every Spending promises, and what a budget makes of it: nothing is asked beyond the limits."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.orm import Session

from alina.config.settings import ModelBudget, Price
from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.domain.runs import Completion, CompletionRequest, Message, ModelIdentity
from alina.errors import (
    DatabaseUnavailable,
    ModelBudgetSpent,
    ModelBusy,
    ModelError,
    ModelRefused,
    ProviderUnavailable,
)
from alina.llm.budget import Budgeted, Call, ProcessSpending, Purpose, Spending, Spent, Totals, on_behalf_of
from alina.llm.spending import PostgresSpending

TODAY, TOMORROW = date(2026, 11, 21), date(2026, 11, 22)
REQUEST = CompletionRequest(
    messages=(Message("user", "hold?"),),
    json_schema=None,
    max_tokens=10,
    temperature=Decimal(0),
    seed=1,
    deadline_seconds=Decimal(30),
)
PRICE = Price(input=Decimal("0.50"), output=Decimal("1.50"))
#: tokens that REQUEST may take: a byte each and what stands around them, and the answer
MOST = 5 + 16 + 64 + 10


@pytest.fixture(params=["process", "postgres"])
def spending(request: pytest.FixtureRequest) -> Spending:
    if request.param == "process":
        return ProcessSpending()
    return request.getfixturevalue("shared")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def migrated(postgres_server: str) -> Iterator[Callable[[], AbstractContextManager[Session]]]:
    """One database for all tests of this file: the schema takes longer than they do."""
    name = f"test_{uuid4().hex}"
    admin = create_engine(postgres_server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    migrations.upgrade(url)
    engine = make_engine(url)
    yield partial(transaction, session_factory(engine))
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def sessions(
    migrated: Callable[[], AbstractContextManager[Session]],
) -> Callable[[], AbstractContextManager[Session]]:
    with migrated() as session:
        session.execute(text("DELETE FROM model_spending"))
    return migrated


@pytest.fixture
def shared(sessions: Callable[[], AbstractContextManager[Session]]) -> PostgresSpending:
    return PostgresSpending(sessions)


class Double:
    """Answers with 3 + 2 tokens, or fails as it is told."""

    identity = ModelIdentity(
        name="double", backend="scripted", sha256="0" * 64, build="1", context_length=100, threads=1
    )

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.asked = error, 0

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.asked += 1
        if self.error:
            raise self.error
        return Completion(
            text="hold",
            model=self.identity,
            prompt_tokens=3,
            completion_tokens=2,
            elapsed_ms=1,
            finish_reason="stop",
        )


def budgeted(
    spending: Spending,
    budget: object,
    model: Double | None = None,
    *,
    today: date = TODAY,
    price: Price = PRICE,
) -> Budgeted:
    return Budgeted(
        model or Double(),
        price=price,
        budget=ModelBudget.model_validate(budget),
        spending=spending,
        today=lambda: today,
    )


def totals(spending: Spending, purpose: Purpose | None = None, day: date = TODAY) -> Totals:
    """What is counted now; nothing is reserved."""
    seen: list[Totals] = []

    class Looked(Exception):
        pass

    def look(found: Totals) -> None:
        seen.append(found)
        raise Looked

    call = Call(id=uuid4(), purpose=purpose or Purpose(), model="m", day=day, most=Spent())
    with pytest.raises(Looked):
        spending.reserve(call, look)
    return seen[0]


def call(most: Spent, agent: str = "trading", run_id: UUID | None = None, day: date = TODAY) -> Call:
    return Call(id=uuid4(), purpose=Purpose(agent=agent, run_id=run_id), model="m", day=day, most=most)


def allow(_: Totals) -> None:
    pass


# Spending


def test_calls_are_counted_by_run_by_agent_and_by_day(spending: Spending) -> None:
    run, other = uuid4(), uuid4()
    one = Spent(tokens=1, calls=1, seconds=Decimal("0.5"), money=Decimal("0.000001"))
    spending.reserve(call(one, "trading", run, TODAY), allow)
    spending.reserve(call(one, "trading", run, TOMORROW), allow)
    spending.reserve(call(one, "trading", other, TODAY), allow)
    spending.reserve(call(one, "second", None, TODAY), allow)
    found = totals(spending, Purpose(agent="trading", run_id=run))
    assert (found.run.tokens, found.agent.tokens, found.day.tokens) == (2, 2, 3)
    assert found.day.calls == 3
    assert found.day.seconds == Decimal("1.5")
    assert found.day.money == Decimal("0.000003")


def test_what_a_call_took_replaces_what_it_may_take(spending: Spending) -> None:
    reserved = call(Spent(tokens=100, calls=1, money=Decimal(1)))
    spending.reserve(reserved, allow)
    for _ in range(2):
        spending.settle(reserved.id, Spent(tokens=7, calls=1, money=Decimal("0.07")))
    assert totals(spending).day == Spent(tokens=7, calls=1, money=Decimal("0.07"))


def test_a_refused_call_is_not_counted(spending: Spending) -> None:
    def refuse(_: Totals) -> None:
        raise ModelBudgetSpent("no")

    with pytest.raises(ModelBudgetSpent):
        spending.reserve(call(Spent(tokens=1, calls=1)), refuse)
    assert totals(spending).day == Spent()


# Budgets


@pytest.mark.parametrize("scope", ["agent", "day"])
@pytest.mark.parametrize(
    ("name", "limit"), [("tokens", MOST), ("calls", 1), ("seconds", "30"), ("money", "0.00005750")]
)
def test_a_call_passes_at_the_limit_and_not_above_it(
    spending: Spending, scope: str, name: str, limit: object
) -> None:
    waiting = Double(ModelBusy("late"))  # nobody knows what it took: its reservation stays
    asked = budgeted(spending, {scope: {name: limit}}, waiting)
    with pytest.raises(ModelBusy):
        asked.complete(REQUEST)
    with pytest.raises(ModelBudgetSpent, match=rf"models\.budget\.{scope}\.{name} is"):
        asked.complete(REQUEST)
    assert waiting.asked == 1


def test_the_next_day_there_is_room_again(spending: Spending) -> None:
    for day in (TODAY, TOMORROW):
        asked = budgeted(spending, {"day": {"calls": 1}}, today=day)
        asked.complete(REQUEST)
        with pytest.raises(ModelBudgetSpent):
            asked.complete(REQUEST)


def test_runs_and_agents_have_limits_of_their_own(spending: Spending) -> None:
    asked = budgeted(spending, {"run": {"calls": 1}, "agent": {"calls": 2}})
    first, second, third = uuid4(), uuid4(), uuid4()
    for agent, run in (("a", first), ("a", second), ("b", third)):
        with on_behalf_of(agent, run):
            asked.complete(REQUEST)
            with pytest.raises(ModelBudgetSpent, match=r"run\.calls"):
                asked.complete(REQUEST)
    with on_behalf_of("a", uuid4()), pytest.raises(ModelBudgetSpent, match=r"agent\.calls is 2.* a waits"):
        asked.complete(REQUEST)
    with on_behalf_of("b"):
        asked.complete(REQUEST)


def test_money_is_exact(spending: Spending) -> None:
    budgeted(spending, {"day": {"money": "5"}}).complete(REQUEST)
    assert totals(spending).day.money == Decimal("0.0000045")  # 3 tokens at 0.50, 2 at 1.50 a million


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("down", is_unanswered=True),
        ModelRefused("key", is_unanswered=True),
        ModelError("too long", is_unanswered=True),
    ],
)
def test_a_call_that_nobody_answered_costs_only_itself(spending: Spending, error: ModelError) -> None:
    with pytest.raises(ModelError):
        budgeted(spending, {"day": {"calls": 9}}, Double(error)).complete(REQUEST)
    found = totals(spending).day
    assert (found.tokens, found.calls, found.money) == (0, 1, 0)


@pytest.mark.parametrize(
    "error", [ModelBusy("late"), ProviderUnavailable("broke off"), ModelRefused("withheld"), SystemExit()]
)
def test_a_call_of_which_nobody_knows_stays_counted_at_its_most(
    spending: Spending, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        budgeted(spending, {"day": {"calls": 9}}, Double(error)).complete(REQUEST)
    assert totals(spending).day.tokens == MOST


def test_a_model_without_a_price_is_limited_by_the_rest(spending: Spending) -> None:
    free = Price(input=Decimal(0), output=Decimal(0))
    asked = budgeted(spending, {"day": {"money": "0.000001", "tokens": MOST}}, price=free)
    asked.complete(REQUEST)
    with pytest.raises(ModelBudgetSpent, match=r"day\.tokens"):
        asked.complete(replace(REQUEST, max_tokens=50))


# Shared and lasting


def test_of_many_at_once_only_as_many_pass_as_the_limit_allows(shared: PostgresSpending) -> None:
    model = Double(ModelBusy("late"))
    asked = budgeted(shared, {"day": {"tokens": 3 * MOST}}, model)

    def ask(_: int) -> type[BaseException]:
        with pytest.raises(ModelError) as caught:
            asked.complete(REQUEST)
        return caught.type

    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(ask, range(12)))
    assert (ends.count(ModelBusy), ends.count(ModelBudgetSpent)) == (3, 9)
    assert model.asked == 3


def test_nobody_looks_while_another_has_looked_and_not_yet_reserved(
    shared: PostgresSpending, sessions: Callable[[], AbstractContextManager[Session]]
) -> None:
    seen: list[Totals] = []
    one = Spent(calls=1)
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def until_the_second_waits_or_looks(_: Totals) -> None:
        second = pool.submit(shared.reserve, call(one), seen.append)
        deadline = time.monotonic() + 200
        with sessions() as session:
            while not seen and not session.scalar(waiting):
                assert time.monotonic() < deadline
                assert not second.done(), second.exception()
                time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        shared.reserve(call(one), until_the_second_waits_or_looks)
    assert [found.day.calls for found in seen] == [1]


def test_a_restart_forgets_nothing(
    shared: PostgresSpending, sessions: Callable[[], AbstractContextManager[Session]]
) -> None:
    budgeted(shared, {"day": {"calls": 1}}).complete(REQUEST)
    with pytest.raises(ModelBudgetSpent):
        budgeted(PostgresSpending(sessions), {"day": {"calls": 1}}).complete(REQUEST)


def test_without_the_database_no_model_is_asked() -> None:
    engine = make_engine("postgresql://nobody@127.0.0.1:1/none")
    model = Double()
    away = PostgresSpending(partial(transaction, session_factory(engine)))
    with pytest.raises(DatabaseUnavailable):
        budgeted(away, {"day": {"calls": 1}}, model).complete(REQUEST)
    assert model.asked == 0


def test_an_answer_is_kept_though_it_cannot_be_settled(
    shared: PostgresSpending, sessions: Callable[[], AbstractContextManager[Session]]
) -> None:
    with sessions() as session:
        session.execute(
            text(
                "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '40001'; END $$; "
                "CREATE TRIGGER away BEFORE UPDATE ON model_spending FOR EACH ROW EXECUTE FUNCTION away()"
            )
        )
    try:
        assert budgeted(shared, {"day": {"calls": 9}}).complete(REQUEST).text == "hold"
        assert totals(shared).day.tokens == MOST
    finally:
        with sessions() as session:
            session.execute(text("DROP FUNCTION away CASCADE"))
