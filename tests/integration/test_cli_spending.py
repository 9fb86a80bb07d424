"""`alina spending`: what models took on a day, and what they may take."""

from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from cli_command import InProcess

from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.llm.budget import Call, Purpose, Spent
from alina.llm.spending import PostgresSpending

DAY = date(2025, 1, 2)


def test_what_agents_took_is_shown_beside_the_limits(
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.yaml").write_text("models: {budget: {day: {money: '5'}}}\n")
    migrations.upgrade(database_url)
    engine = make_engine(database_url)
    spending = PostgresSpending(partial(transaction, session_factory(engine)))
    for agent, is_settled in (("trading", True), ("trading", False), ("second", True)):
        most = Spent(tokens=100, calls=1, seconds=Decimal(60), money=Decimal("0.25"))
        call = Call(id=uuid4(), purpose=Purpose(agent=agent), model="a-model", day=DAY, most=most)
        spending.reserve(call, lambda _: None)
        if is_settled:
            spending.settle(call.id, Spent(tokens=7, calls=1, seconds=Decimal("1.5"), money=Decimal("0.07")))
    engine.dispose()

    monkeypatch.setenv("ALINA_DATABASE_URL", database_url)
    alina = InProcess(tmp_path, monkeypatch, capsys)
    told = alina("spending", "--day", "2025-01-02", "--json").json
    assert told["budget"]["day"]["money"] == "5"
    second, trading = told["spent"]
    assert (second["agent"], second["unsettled"], second["spent"]["money"]) == ("second", 0, "0.07")
    assert (trading["agent"], trading["unsettled"], trading["spent"]["tokens"]) == ("trading", 1, 107)

    table = alina("spending", "--day", "2025-01-02").out
    assert "a-model" in table
    assert "models.budget: day.money 5" in table
    assert alina("spending", "--json").json["spent"] == []
    assert alina("spending", "--day", "yesterday").code == 2
