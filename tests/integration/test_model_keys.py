"""A provider's key reaches the inference worker, and nothing and nobody else."""

from pathlib import Path

import pytest

from alina.config import load_settings
from alina.embedded.folder import DataFolder
from alina.errors import ConfigError
from alina.llm import opening
from alina.orchestrator import stack

KEY = "sk-a-key-that-nobody-may-see"


def secrets(**keys: str) -> stack.Secrets:
    return stack.Secrets(
        agent_database_url="postgresql://agent",
        executor_database_url="postgresql://executor",
        monitor_database_url="postgresql://monitor",
        redis_url="redis://here",
        exchange_api_key="",
        exchange_secret="",
        flower_password="a-password",
        model_keys=keys,
    )


def test_only_the_inference_worker_is_given_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALINA_MODEL_KEYS__OPENAI", KEY)
    monkeypatch.setenv("ALINA_RISK__COOLDOWN", "30m")
    config = tmp_path / "config.yaml"
    config.write_text("system: {data_folder: data}\n")
    settings = load_settings(config)
    specs = stack.processes(settings, DataFolder(settings.data_folder), secrets(openai=KEY))
    holders = [spec.name for spec in specs if KEY in spec.env.values()]
    assert holders == ["inference"]
    assert all(KEY not in " ".join(spec.argv) for spec in specs)
    assert all(spec.env["ALINA_RISK__COOLDOWN"] == "30m" for spec in specs)


def test_a_key_is_read_from_its_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "openai.key").write_text(f"{KEY}\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "models: {default: 'provider:openai/some-model', context_length: 4096, "
        "providers: {openai: {api_key_file: openai.key}}}\n"
    )
    settings = load_settings(config)
    line = opening.check_models(settings)
    assert line == "openai/some-model: elsewhere, 4096 tokens of context"
    assert KEY not in repr(settings)
    (tmp_path / "openai.key").unlink()
    with pytest.raises(ConfigError, match=r"openai\.key cannot be read"):
        opening.check_models(settings)


def test_a_missing_key_is_named_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("models: {default: 'provider:groq/some-model'}\n")
    with pytest.raises(ConfigError, match="ALINA_MODEL_KEYS__GROQ"):
        opening.check_models(load_settings(config))
