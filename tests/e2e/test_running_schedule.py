"""What the schedule does by itself."""

from running_system import SYMBOL, RunningSystem, eventually
from sqlalchemy import NullPool, create_engine, text

from alina import bootstrap

EXPECTED = {
    "proposals": 4,
    "runs:held": 1,
    "runs:proposed": 4,
    "runs:failed": 1,
    "decisions:approved": 3,
    "denials:MAX_TRADE_AMOUNT": 1,
    "orders:filled": 3,
    "fills": 3,
    "closed_trades": 1,
    "evaluations": 1,
    "tokens:prompt": 1,
    "tokens:completion": 1,
}


def test_everything_from_candle_to_evaluation_appears_by_itself(system: RunningSystem) -> None:
    def missing() -> dict[str, int]:
        counts = system.counts()
        return {name: counts[name] for name, least in EXPECTED.items() if counts[name] < least}

    eventually(lambda: not missing(), f"the schedule alone brings {EXPECTED}")

    with system.runtime.unit_of_work() as uow:
        candles = uow.candles.history(SYMBOL, "1h", until=system.runtime.clock.now(), limit=1000)
        assert len(candles) >= system.settings.market.history
        assert len(uow.ledger.equity_curve("main")) > 1
        assert uow.memory.recall(SYMBOL, "closed trade", as_of=system.runtime.clock.now(), limit=4)


def test_the_books_of_venue_and_ledger_agree(system: RunningSystem) -> None:
    system.wait_for_more()

    system.assert_books_agree()


def test_every_decision_is_explained_by_what_was_stored(system: RunningSystem) -> None:
    system.wait_for_more()

    with system.runtime.unit_of_work() as uow:
        trails = [trail for trail in uow.ledger.decisions(limit=100) if trail.run is not None]

    assert trails
    for trail in trails:
        assert trail.run is not None
        call = trail.run.calls[-1]
        assert call.completion.text
        assert call.completion.model.sha256
        assert trail.run.prompt_revision_id
        assert trail.run.as_of == trail.proposal.as_of <= trail.decision.decided_at


def test_what_nobody_waits_for_leaves_no_result_behind(system: RunningSystem) -> None:
    engine = create_engine(bootstrap.connections(system.settings).database_url, poolclass=NullPool)
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT count(*) FROM celery_taskmeta"))
    system.wait_for_more()

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM celery_taskmeta")) == before
