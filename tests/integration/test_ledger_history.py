"""What the kernel counts is read by indexes, however long an account has traded."""

from typing import Any

import pytest
from ledger_cases import NOON, empty, proposal, with_agent
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from alina.db.prepared import send
from alina.ledger import Ledger
from alina.ledger.exposure import COUNT

#: no foreign keys and triggers: the rows that a history hangs on do not matter here
_ALONE = "SET LOCAL session_replication_role = replica"
_PAST = """
INSERT INTO reservations (decision_id, account, asset, amount, state, agent, symbol, side, decided_at,
    created_at, ended_at)
SELECT gen_random_uuid(), 'main', 'USDT', 10, 'settled', 'trading', 'BTC/USDT', 'buy', past, past, past
FROM (SELECT :noon - n * interval '5 minutes' AS past FROM generate_series(1, 20000) AS n) AS one;
INSERT INTO orders (client_order_id, account, decision_id, content_hash, symbol, side, order_type, quantity,
    state, settled, filled_quantity)
SELECT decision_id, account, decision_id, '', symbol, side, 'market', 1, 'filled', true, 1 FROM reservations;
INSERT INTO positions (id, account, symbol, quantity, bought_quantity, sold_quantity, cost, proceeds,
    opened_at, opened_by, agent, closed_at, close_reason)
SELECT decision_id, account, symbol, 0, 1, 1, 10, 9, decided_at, decision_id, agent, decided_at, 'agent'
FROM reservations
"""
_WORTH = """
INSERT INTO equity (account, as_of, cash, holdings)
SELECT 'main', :noon - n * interval '30 seconds', 1000 + n % 7, 0 FROM generate_series(1, 20000) AS n
"""
_ASKED = ("main", "trading", "BTC/USDT", "buy", "BTC", "USDT", *[NOON] * 5, proposal().id)


def test_a_review_reads_no_whole_table_of_the_past(engine: Engine) -> None:
    empty(engine)
    with Session(engine) as session:  # never committed
        with_agent(Ledger(session))
        connection = session.connection()
        connection.execute(text(_ALONE))
        connection.execute(text(_PAST), {"noon": NOON})
        connection.execute(text("ANALYZE reservations, orders, positions"))
        send(connection, [(COUNT, _ASKED)])
        nodes = _nodes(connection)
    whole = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
    assert not whole & {"reservations", "orders", "positions"}


def test_a_plan_made_while_there_was_no_past_reads_none_of_it_later(engine: Engine) -> None:
    """As in a new system, whose tables have no statistics yet and whose connections stay."""
    empty(engine)
    with Session(engine) as session:
        with_agent(Ledger(session))
        connection = session.connection()
        connection.execute(text(_ALONE))  # first: it makes every plan anew
        send(connection, [(COUNT, _ASKED)])
        connection.execute(text(_PAST), {"noon": NOON})
        nodes = _nodes(connection)
    assert sum(node.get("Rows Removed by Filter", 0) for node in nodes) < 10


@pytest.mark.parametrize("statistics", ["SELECT", "ANALYZE equity, new_peaks"])
@pytest.mark.parametrize("is_left_behind", [False, True])
def test_of_the_equities_of_years_a_review_reads_those_that_it_tells(
    engine: Engine, is_left_behind: bool, statistics: str
) -> None:
    empty(engine)
    with Session(engine) as session:
        ledger = Ledger(session)
        with_agent(ledger)
        connection = session.connection()
        connection.execute(text(_WORTH), {"noon": NOON})
        if is_left_behind:
            ledger.begin_new_peak("main", reason="withdrew half", by="dana")
        connection.execute(text(statistics))
        send(connection, [(COUNT, _ASKED)])
        read = [node for node in _nodes(connection) if node.get("Relation Name") == "equity"]
    assert len(read) == 4
    assert sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in read) < 10


def _nodes(connection: Connection) -> list[dict[str, Any]]:
    """Every step of the plan, with what it has read."""
    explained = connection.exec_driver_sql(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {COUNT.call}", _ASKED
    ).scalar_one()
    waiting, nodes = [explained[0]["Plan"]], []
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", ())
    return nodes
