"""Attacks with nothing but SQL: as an agent, as the executor, as somebody who guesses passwords."""

import pickle
from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attack_cases import login
from kombu.exceptions import DecodeError
from ledger_cases import approve, claim, empty, placed, proposal, with_agent
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from alina.config import Settings
from alina.db import roles
from alina.db.roles import AGENT, EXECUTOR, MONITOR
from alina.domain.decisions import Denied, NeedsApproval, ReasonCode, content_hash
from alina.domain.orders import OrderState
from alina.errors import ConfigError
from alina.ledger import Ledger
from alina.queues import PendingRun, make_celery

INSUFFICIENT_PRIVILEGE = "42501"
CHECK_VIOLATION = "23514"
ALL = ("*",)
ROLES = (AGENT, EXECUTOR, MONITOR)
#: what each role may write: verb -> table -> columns. Whatever is not here must be refused.
MAY: Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    AGENT: {
        "INSERT": dict.fromkeys(
            (
                "candles",
                "celery_taskmeta",
                "evaluations",
                "experiment_cases",
                "experiments",
                "facts",
                "model_calls",
                "model_spending",
                "prompt_revisions",
                "prompts",
                "proposals",
                "runs",
            ),
            ALL,
        ),
        "UPDATE": {
            "candles": ("open", "high", "low", "close", "volume"),
            "celery_taskmeta": ALL,
            "experiment_cases": ("challenger_score",),
            "experiments": ALL,
            "facts": ("invalid_at", "expired_at"),
            "model_spending": ("is_settled", "tokens", "calls", "seconds", "money"),
            "prompts": ("active_revision_id",),
            "runs": ("state", "summary", "prompt_revision_id", "context", "fact_ids", "finished_at"),
        },
        "DELETE": dict.fromkeys(("celery_taskmeta", "celery_tasksetmeta", "facts"), ALL),
    },
    EXECUTOR: {
        "INSERT": dict.fromkeys(
            (
                "approvals",
                "balances",
                "celery_taskmeta",
                "decisions",
                "equity",
                "fills",
                "foreign_orders",
                "mismatches",
                "orders",
                "positions",
                "proposals",
                "reservations",
            ),
            ALL,
        ),
        "UPDATE": {"mismatches": ("last_seen_at", "times")}
        | dict.fromkeys(
            (
                "accounts",
                "balances",
                "celery_taskmeta",
                "decisions",
                "equity",
                "orders",
                "positions",
                "reservations",
                "system_state",
            ),
            ALL,
        ),
        "DELETE": {},
    },
    MONITOR: {},
}
#: what the monitor may read: the metrics' counts, and neither words of prompts nor results
COUNTED = {
    "accounts",
    "decisions",
    "evaluations",
    "fills",
    "foreign_orders",
    "mismatches",
    "model_calls",
    "orders",
    "positions",
    "proposals",
    "runs",
    "system_state",
}


@pytest.fixture(scope="module")
def owner(engine: Engine) -> Engine:
    return engine


@pytest.fixture(scope="module")
def engines(owner: Engine) -> Iterator[dict[str, Engine]]:
    url = owner.url.render_as_string(hide_password=False)
    engines = {role: create_engine(login(url, role)) for role in ROLES}
    yield engines
    for engine in engines.values():
        engine.dispose()


@pytest.fixture
def books(owner: Engine) -> Iterator[Ledger]:
    """The owner's ledger, every call committed, emptied afterwards."""
    with Session(owner.execution_options(isolation_level="AUTOCOMMIT")) as session:
        ledger = Ledger(session)
        with_agent(ledger)
        yield ledger
    empty(owner)


def attempt(connection: Connection, statement: str, **values: Any) -> str | None:
    """The SQLSTATE of the refusal; None: it was done. Nothing lasts."""
    with connection.begin() as transaction:
        try:
            connection.execute(text(statement), values)
        except DBAPIError as error:
            return str(getattr(error.orig, "pgcode", None))
        finally:
            transaction.rollback()
    return None


def writes(tables: Mapping[str, list[str]]) -> Iterator[tuple[str, str, str, str]]:
    """Every verb on every table, and for UPDATE on every column, as a statement that touches no row."""
    for table, columns in tables.items():
        names = ", ".join(columns)
        insert = f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE false"  # noqa: S608
        yield "INSERT", table, "*", insert
        for column in columns:
            yield "UPDATE", table, column, f"UPDATE {table} SET {column} = DEFAULT WHERE false"  # noqa: S608
        yield "DELETE", table, "*", f"DELETE FROM {table} WHERE false"  # noqa: S608
        yield "TRUNCATE", table, "*", f"TRUNCATE {table} CASCADE"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_write_exactly_what_it_needs(owner: Engine, engines: dict[str, Engine], role: str) -> None:
    look = inspect(owner)
    tables = {
        # a generated column is nobody's to write
        name: [str(c["name"]) for c in look.get_columns(name) if not c.get("computed")]
        for name in look.get_table_names()
    }
    allowed = MAY[role]
    known = set().union(*(set(verbs) for rights in MAY.values() for verbs in rights.values()))
    assert known <= set(tables)
    wrong = []
    with engines[role].connect() as connection:
        for verb, table, column, statement in writes(tables):
            columns = allowed.get(verb, {}).get(table, ())
            expected = None if columns == ALL or column in columns else INSUFFICIENT_PRIVILEGE
            if attempt(connection, statement) != expected:
                wrong.append((verb, table, column, "refused" if expected is None else "done"))
    assert wrong == []


def test_the_monitor_reads_what_the_metrics_count_and_nothing_else(
    owner: Engine, engines: dict[str, Engine]
) -> None:
    with engines[MONITOR].connect() as connection:
        tables = inspect(owner).get_table_names()
        readable = {name for name in tables if attempt(connection, f"SELECT FROM {name}") is None}
        assert readable == COUNTED
        assert attempt(connection, "SELECT messages FROM model_calls") == INSUFFICIENT_PRIVILEGE
        counts = Ledger(Session(connection)).counts()
    assert "trading_state:system" in counts


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id integer)",
        "ALTER TABLE orders DISABLE TRIGGER USER",
        "ALTER TABLE orders DROP CONSTRAINT ck_orders_verdict",
        "DROP TRIGGER orders_are_as_approved ON orders",
        "SET session_replication_role = replica",
        "SET ROLE alina",
        "SET SESSION AUTHORIZATION alina",
        "ALTER ROLE alina_agent SUPERUSER",
        "ALTER ROLE alina PASSWORD 'mine'",
        "SET log_statement = 'none'",
        "CREATE ROLE another LOGIN",
        "GRANT alina TO CURRENT_USER",
        "CREATE FUNCTION mine() RETURNS void LANGUAGE sql AS ''",
        "CREATE TRIGGER mine BEFORE INSERT ON orders EXECUTE FUNCTION refuse_change()",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION refuse_change()",
        "CREATE RULE mine AS ON INSERT TO orders DO ALSO NOTHING",
        "CREATE SCHEMA mine",
        "CREATE PUBLICATION mine FOR ALL TABLES",
        "CREATE OR REPLACE FUNCTION check_order_is_as_approved() RETURNS trigger LANGUAGE sql RETURN null",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/nowhere'",
        "CREATE TEMP TABLE lines (line text); COPY lines FROM '/etc/hostname'",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT passwd FROM pg_shadow",
        "SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE usename = 'alina'",
        "SELECT setval('task_id_sequence', 1)",
    ],
)
def test_no_role_gives_itself_more(engines: dict[str, Engine], role: str, statement: str) -> None:
    with engines[role].connect() as connection:
        assert attempt(connection, statement) in {INSUFFICIENT_PRIVILEGE, "42P13"}


def test_no_role_may_become_another(engines: dict[str, Engine]) -> None:
    for role, other in permutations(ROLES, 2):
        with engines[role].connect() as connection:
            assert attempt(connection, f"SET ROLE {other}") == INSUFFICIENT_PRIVILEGE


def test_one_roles_password_does_not_open_the_other(engines: dict[str, Engine]) -> None:
    url = engines[AGENT].url
    for username, password in ((EXECUTOR, url.password), ("alina", url.password), (AGENT, ""), (AGENT, "x")):
        stranger = create_engine(url.set(username=username, password=password), poolclass=NullPool)
        with pytest.raises(OperationalError, match=r"authentication failed|no password supplied"):
            stranger.connect()


@pytest.mark.parametrize(
    "weakness",
    ["prosecdef", "prorettype = 'trigger'::regtype AND NOT coalesce(proconfig::text ~ 'search_path', false)"],
    ids=["lends its owner's rights", "looks names up where its caller says"],
)
def test_no_function_of_ours_can_be_turned_by_its_caller(owner: Engine, weakness: str) -> None:
    query = f"SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND {weakness}"  # noqa: S608
    with owner.connect() as connection:
        assert connection.scalars(text(query)).all() == []


def test_a_search_path_of_an_agents_own_ends_with_its_session(engines: dict[str, Engine]) -> None:
    with engines[AGENT].connect() as connection:
        connection.execute(text("CREATE TEMP TABLE accounts (name text)"))
        connection.execute(text("SET search_path = pg_temp, public"))
        assert connection.scalar(text("SELECT count(*) FROM accounts")) == 0
        with engines[EXECUTOR].connect() as other:
            assert other.scalar(text("SELECT 'accounts'::regclass = 'public.accounts'::regclass"))
        connection.invalidate()  # nothing of it stays in the pool


_FORGED_DECISION = """
    INSERT INTO decisions (id, proposal_id, verdict, message, content_hash, snapshot, decided_at)
    VALUES (:id, :proposal_id, 'approved', '', :content_hash, '{}', now())
"""
_ORDER = """
    INSERT INTO orders (client_order_id, account, decision_id, content_hash, symbol, side, order_type,
                        quantity, limit_price, trigger_price, state)
    SELECT 'forged', account, :decision, content_hash, {symbol}, {side}, {order_type}, {quantity},
           {limit_price}, {trigger_price}, 'submitting'
    FROM public.proposals WHERE id = :proposal
"""
_ASKED = ("symbol", "side", "order_type", "quantity", "limit_price", "trigger_price")
_AS_PROPOSED = {name: name for name in _ASKED}


def order_statement(**changes: str) -> str:
    """An order of a proposal, with some columns of its own."""
    return _ORDER.format(**_AS_PROPOSED | changes)


def test_an_agent_cannot_forge_an_approval(books: Ledger, engines: dict[str, Engine]) -> None:
    wish = proposal()
    books.save_proposal(wish)
    forged = {"id": uuid4(), "proposal_id": wish.id, "content_hash": "0" * 64}
    with engines[AGENT].connect() as connection:
        assert attempt(connection, _FORGED_DECISION, **forged) == INSUFFICIENT_PRIVILEGE


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "4000-01-01 BC", "20000-01-01"])
@pytest.mark.parametrize("column", ["as_of", "expires_at", "close_after", "created_at"])
def test_a_proposal_of_a_time_that_nobody_could_read_is_not_stored(
    books: Ledger, engines: dict[str, Engine], column: str, moment: str
) -> None:
    assert _copied(books, engines[AGENT], column, moment) == CHECK_VIOLATION


def test_a_proposal_of_a_symbol_that_names_no_two_assets_is_not_stored(
    books: Ledger, engines: dict[str, Engine]
) -> None:
    for symbol in ("BTCUSDT", "BTC/", "/USDT", "BTC/USDT/X"):
        assert _copied(books, engines[AGENT], "symbol", symbol) == CHECK_VIOLATION
    assert _copied(books, engines[AGENT], "symbol", "ETH/USDT") is None


def _copied(books: Ledger, engine: Engine, column: str, value: str) -> str | None:
    """What comes of a proposal like a sound one but for this column."""
    books.save_proposal(proposal())
    copy = (
        "INSERT INTO proposals SELECT (jsonb_populate_record(sound, "
        "jsonb_build_object('id', gen_random_uuid(), CAST(:column AS text), CAST(:value AS text)))).* "
        "FROM proposals sound"
    )
    with engine.connect() as connection:
        return attempt(connection, copy, column=column, value=value)


def test_an_agent_neither_asks_a_person_nor_answers_for_one(
    books: Ledger, engines: dict[str, Engine]
) -> None:
    wish = proposal()
    books.save_proposal(wish)
    asked = NeedsApproval(message="a person must agree", expires_at=wish.expires_at)
    decision = books.save_decision(wish, asked, snapshot={}, decided_at=wish.as_of)
    question = {"decision": decision.id, "proposal": wish.id, "hash": content_hash(wish)}
    yes = "answer = 'approved', answered_by = 'a person', answered_at = now()"
    for statement in (
        f"UPDATE approvals SET {yes}",  # noqa: S608
        "UPDATE approvals SET expires_at = 'infinity'",
        "DELETE FROM approvals",
        "UPDATE decisions SET verdict = 'approved', content_hash = :hash WHERE id = :decision",
        "INSERT INTO approvals (decision_id, proposal_id, content_hash, expires_at, answer, answered_by,"
        " answered_at) VALUES (:decision, :proposal, :hash, now(), 'approved', 'a person', now())",
    ):
        with engines[AGENT].connect() as connection:
            assert attempt(connection, statement, **question) == INSUFFICIENT_PRIVILEGE, statement


def test_an_agent_cannot_free_what_is_reserved(books: Ledger, engines: dict[str, Engine]) -> None:
    approve(books, proposal())
    with engines[AGENT].connect() as connection:
        for change in ("amount = 0", "state = 'released'"):
            statement = f"UPDATE reservations SET {change}"  # noqa: S608
            assert attempt(connection, statement) == INSUFFICIENT_PRIVILEGE
        assert attempt(connection, "DELETE FROM reservations") == INSUFFICIENT_PRIVILEGE


def test_not_even_the_executor_can_approve_other_content(books: Ledger, engines: dict[str, Engine]) -> None:
    wish = proposal()
    books.save_proposal(wish)
    forged = {"id": uuid4(), "proposal_id": wish.id, "content_hash": "0" * 64}
    with engines[EXECUTOR].connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text(_FORGED_DECISION), forged)


def test_the_executor_cannot_store_an_order_of_a_denied_proposal(
    books: Ledger, engines: dict[str, Engine]
) -> None:
    wish = proposal()
    books.save_proposal(wish)
    denial = Denied(reason=ReasonCode.TRADING_HALTED, message="halted")
    decision = books.save_decision(wish, denial, snapshot={}, decided_at=wish.as_of)
    with engines[EXECUTOR].connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text(order_statement()), {"decision": decision.id, "proposal": wish.id})


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "quantity * 2"},
        {"symbol": "'ETH/USDT'"},
        {"side": "'sell'"},
        {"order_type": "'limit'", "limit_price": "5"},
        {"order_type": "'stop_limit'", "limit_price": "5", "trigger_price": "6"},
    ],
    ids=str,
)
def test_the_executor_cannot_store_an_order_that_differs_from_what_was_approved(
    books: Ledger, engines: dict[str, Engine], changes: dict[str, str]
) -> None:
    wish = proposal()
    ids = {"decision": approve(books, wish).id, "proposal": wish.id}
    with engines[EXECUTOR].connect() as connection, pytest.raises(IntegrityError, match="is not what"):
        connection.execute(text(order_statement(**changes)), ids)


CHANGES = (
    "quantity = quantity * 2",
    "symbol = 'ETH/USDT'",
    "side = 'sell'",
    "order_type = 'limit', limit_price = 5",
    "order_type = 'stop_limit', limit_price = 5, trigger_price = 6",
    "account = 'other'",
    "content_hash = repeat('0', 64)",
)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        *(("proposals", change) for change in (*CHANGES, "stop_price = 1", "expires_at = 'infinity'")),
        *(("orders", change) for change in (*CHANGES, "client_order_id = 'another'")),
        ("orders", "decision_id = gen_random_uuid()"),
    ],
)
def test_what_was_approved_is_not_edited_on_its_way_to_the_exchange(
    books: Ledger, owner: Engine, engines: dict[str, Engine], table: str, change: str
) -> None:
    books.ensure_account("other")
    claim(books, proposal())
    statement = f"UPDATE {table} SET {change}"  # noqa: S608
    with engines[AGENT].connect() as connection:
        assert attempt(connection, statement) == INSUFFICIENT_PRIVILEGE
    with engines[EXECUTOR].connect() as connection:
        assert attempt(connection, statement) == ("23000" if table == "orders" else INSUFFICIENT_PRIVILEGE)
    with owner.connect() as connection:
        assert attempt(connection, statement) == "23000"


def test_an_order_only_moves_forward(books: Ledger, engines: dict[str, Engine]) -> None:
    order = claim(books, proposal())
    books.record_placed(placed(order, OrderState.PARTIALLY_FILLED, "0.5"))
    back = ("state = 'submitting'", "state = 'open'", "filled_quantity = 0.4")
    with engines[EXECUTOR].connect() as connection:
        for change in back:
            assert attempt(connection, f"UPDATE orders SET {change}") == "23000", change  # noqa: S608
        assert attempt(connection, "UPDATE orders SET state = 'canceled'") is None


def test_a_decision_is_not_taken_back(books: Ledger, engines: dict[str, Engine]) -> None:
    approve(books, proposal())
    change = "verdict = 'denied', reason = 101, content_hash = NULL"
    with engines[EXECUTOR].connect() as connection:
        assert attempt(connection, f"UPDATE decisions SET {change}") == "23000"  # noqa: S608


@pytest.mark.parametrize("table", ["accounts", "system_state"])
def test_the_executor_may_stop_trading_and_only_the_owner_lets_it_go_on(
    books: Ledger, owner: Engine, engines: dict[str, Engine], table: str
) -> None:
    def move(state: str) -> str:
        return f"UPDATE {table} SET trading_state = '{state}'"  # noqa: S608

    with engines[EXECUTOR].begin() as connection:
        connection.execute(text(move("REDUCING")))
        connection.execute(text(move("HALTED")))
    with engines[EXECUTOR].connect() as connection:
        assert attempt(connection, move("HALTED")) is None
        assert attempt(connection, move("REDUCING")) == INSUFFICIENT_PRIVILEGE
        assert attempt(connection, move("ACTIVE")) == INSUFFICIENT_PRIVILEGE
    with owner.begin() as connection:
        connection.execute(text(move("ACTIVE")))


@pytest.mark.parametrize("role", [AGENT, EXECUTOR])
def test_only_the_owner_begins_a_new_peak_and_nobody_rewrites_why(
    books: Ledger, owner: Engine, engines: dict[str, Engine], role: str
) -> None:
    books.begin_new_peak("main", reason="withdrew 500", by="dana")
    begin = "INSERT INTO new_peaks (account, number, reason, begun_by) VALUES ('main', 2, 'mine', 'me')"
    rewrite = "UPDATE new_peaks SET reason = 'mine'"
    with engines[role].connect() as connection:
        for statement in (begin, rewrite, "DELETE FROM new_peaks"):
            assert attempt(connection, statement) == INSUFFICIENT_PRIVILEGE, statement
    with owner.connect() as connection:
        assert attempt(connection, rewrite) == "23000"
        assert attempt(connection, begin) is None


def test_a_table_of_the_executors_own_does_not_fool_the_check_of_orders(
    books: Ledger, engines: dict[str, Engine]
) -> None:
    wish = proposal()
    decision = approve(books, wish)
    with engines[EXECUTOR].connect() as connection:
        connection.execute(text("CREATE TEMP TABLE decisions AS SELECT * FROM public.decisions"))
        connection.execute(text("CREATE TEMP TABLE proposals AS SELECT * FROM public.proposals"))
        connection.execute(text("UPDATE pg_temp.proposals SET quantity = quantity * 2"))
        forged, ids = order_statement(quantity="quantity * 2"), {"decision": decision.id, "proposal": wish.id}
        with pytest.raises(IntegrityError, match="is not what"):
            connection.execute(text(forged), ids)


def test_a_forged_result_runs_no_code_where_it_is_read(
    owner: Engine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    proof = tmp_path / "proof"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (proof,)

    task_id = str(uuid4())
    with engines[AGENT].begin() as connection:
        connection.execute(
            text(
                "INSERT INTO celery_taskmeta (id, task_id, status, result) "
                "VALUES (1, :id, 'SUCCESS', :result)"
            ),
            {"id": task_id, "result": pickle.dumps(Payload())},
        )
    url = owner.url.render_as_string(hide_password=False)
    app = make_celery(Settings(), database_url=url, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(DecodeError):
        PendingRun(app.AsyncResult(task_id)).get(timeout=200)
    assert not proof.exists()


def test_a_login_of_an_administrators_making_is_only_tried(owner: Engine) -> None:
    login_name = f"somebody_{uuid4().hex[:8]}"
    url = owner.url.render_as_string(hide_password=False)
    theirs = make_url(url).set(username=login_name, password="secret").render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match=login_name):
        roles.let_log_in(url, theirs)
    with owner.begin() as connection:
        connection.execute(text(f"CREATE ROLE {login_name} LOGIN PASSWORD 'secret' IN ROLE {AGENT}"))
    roles.let_log_in(url, theirs)
    engine = create_engine(theirs, poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM orders")) == 0
    with owner.begin() as connection:
        connection.execute(text(f"DROP ROLE {login_name}"))


def test_the_server_never_sees_a_password_in_the_clear(owner: Engine, engines: dict[str, Engine]) -> None:
    with owner.connect() as connection:
        stored = connection.scalar(text("SELECT rolpassword FROM pg_authid WHERE rolname = :r"), {"r": AGENT})
    assert str(stored).startswith("SCRAM-SHA-256$")
    assert str(engines[AGENT].url.password) not in str(stored)
