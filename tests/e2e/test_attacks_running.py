"""Forged, garbled and replayed messages to the running system, by somebody who can write to its broker."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from kombu import Connection
from running_system import SYMBOL, RunningSystem, eventually
from sqlalchemy import NullPool, create_engine, text

from alina import Client, bootstrap
from alina.db.roles import AGENT
from alina.domain.decisions import Proposal
from alina.errors import ConfigError

EXECUTE = "trading.execute_proposal"


@pytest.fixture
def client(system: RunningSystem) -> Iterator[Client]:
    client = Client(system.config)
    with closing(client.app):
        yield client


def decided(system: RunningSystem, verdict: str) -> Proposal:
    """A proposal that was decided so."""

    def look() -> Proposal | None:
        with system.runtime.unit_of_work() as uow:
            trails = uow.ledger.decisions(limit=200)
        return next((t.proposal for t in trails if t.decision and t.decision.verdict == verdict), None)

    found = eventually(look, f"a proposal is {verdict}")
    assert found is not None
    return found


def test_forged_messages_fail_and_move_nothing(client: Client, system: RunningSystem) -> None:
    known, unknown = str(decided(system, "approved").id), str(uuid4())
    forged: list[tuple[list[object], dict[str, object]]] = [
        ([], {}),
        (["garbage"], {}),
        ([None], {}),
        ([{"quantity": "5"}], {}),
        ([unknown], {}),
        ([unknown, "1000000"], {}),
        ([known, "1000000"], {}),
        ([known], {"quantity": "1000000"}),
        ([7], {}),
        (["7" * 1_000_000], {}),
    ]
    answers = [client.app.send_task(EXECUTE, *arguments) for arguments in forged]
    for name in ("trading.submit", "alina.orchestrator.execution.execute"):
        answers.append(client.app.send_task(name, [known], queue="execution"))
    for answer in answers:
        answer.get(timeout=200, propagate=False)
        assert answer.failed(), answer.id
    system.assert_books_agree()


def test_replayed_messages_give_the_same_verdict_and_no_second_order(
    client: Client, system: RunningSystem
) -> None:
    for verdict in ("approved", "denied"):
        wish = decided(system, verdict)
        for answer in [client.send(EXECUTE, str(wish.id)) for _ in range(5)]:
            assert answer.get(timeout=200) == verdict
    system.assert_books_agree()


@pytest.mark.parametrize("queue", ["inference", "default"])
def test_a_message_in_another_workers_queue_is_refused_there(
    client: Client, system: RunningSystem, queue: str
) -> None:
    wish = decided(system, "approved")
    answer = client.app.send_task(EXECUTE, [str(wish.id)], queue=queue)
    with pytest.raises(ConfigError, match="only the worker of the queue `execution`"):
        answer.get(timeout=200)


def test_a_task_of_agents_in_the_executors_queue_is_refused_there(client: Client) -> None:
    answer = client.app.send_task("market.run_cycle", ["trading", SYMBOL], queue="execution")
    with pytest.raises(ConfigError, match="runs no tasks of agents"):
        answer.get(timeout=200)


def test_a_pickled_message_is_not_opened(client: Client, system: RunningSystem, tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (proof,)

    with Connection(bootstrap.connections(system.settings).redis_url) as broker:
        headers = {"task": EXECUTE, "id": str(uuid4()), "lang": "py"}
        broker.SimpleQueue("execution").put(Payload(), serializer="pickle", headers=headers)
    later = client.send(EXECUTE, str(decided(system, "approved").id))
    assert later.get(timeout=200) == "approved", "the worker goes on"
    assert not proof.exists()


def test_a_plugin_in_the_inference_process_has_an_agents_rights_and_no_keys(system: RunningSystem) -> None:
    environment = psutil.Process(system.pid("inference")).environ()
    assert not [name for name in environment if name.startswith("ALINA_EXCHANGE_") and "__" not in name]
    engine = create_engine(environment["ALINA_DATABASE_URL"], poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == AGENT
        assert not connection.scalar(text("SELECT has_table_privilege('orders', 'INSERT')"))
