"""Every decision that is stored can be had again: 200 of them, by other workers than those that made them."""

import pytest
from ledger_cases import with_agent
from replay_cases import stored_and_replayed
from system import migrated

from alina.db.engine import make_engine, session_factory, transaction
from alina.ledger import Ledger
from alina.orchestrator.replay import is_same

DECISIONS = 200


@pytest.mark.timeout(1800)
def test_two_hundred_decisions_are_replayed_bit_for_bit(postgres_server: str) -> None:
    with migrated(postgres_server) as url:
        engine = make_engine(url)
        with transaction(session_factory(engine)) as session:
            ledger = Ledger(session)
            with_agent(ledger)
            pairs = stored_and_replayed(ledger, DECISIONS, workers=2)
        engine.dispose()
    different = [stored.key for stored, calls in pairs if not is_same(calls)]
    assert (len(pairs), different) == (DECISIONS, [])
