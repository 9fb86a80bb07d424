"""config.yaml and the environment: what is accepted, and that each refusal names its line and its remedy."""

import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from alina.config import Settings, load_settings, render_config
from alina.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def refusal(config: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    return str(caught.value)


def test_the_shipped_config_holds_every_default() -> None:
    assert (REPOSITORY / "config.yaml").read_text() == render_config()


def test_a_rendered_config_reads_back_as_the_same_settings(config: Path) -> None:
    overrides = {
        "risk": {"cooldown": "90s", "max_trade_amount": "12.50"},
        "execution": {"ram_limit": "800MB"},
    }
    config.write_text(render_config(overrides))
    read = load_settings(config)
    assert read == Settings.model_validate({**overrides, "config_file": config})
    assert read.risk.cooldown == timedelta(seconds=90)
    assert read.execution.ram_limit == 800 * 10**6


def test_every_rendered_setting_has_a_comment() -> None:
    lines = render_config().splitlines()
    for before, line in pairwise(lines):
        if re.match(r" *[a-z_]+:", line):
            assert "#" in line or before.strip().startswith("#"), line


def test_an_empty_file_means_every_default(config: Path) -> None:
    config.write_text("# nothing\n")
    assert load_settings(config) == Settings(config_file=config)


def test_a_section_without_settings_means_its_defaults(config: Path) -> None:
    config.write_text("risk:\n  # cooldown: 2h\nmemory:\n")
    assert load_settings(config) == Settings(config_file=config)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("risk:\n  coldown: 1h\n", 2, "risk.coldown: unknown setting: did you mean cooldown?"),
        ("riks:\n  cooldown: 1h\n", 1, "riks: unknown setting: did you mean risk?"),
        ("risk:\n  zzz: 1\n", 2, "known here are checks"),
        ("risk:\n  cooldown: 60\n", 2, "write a number and a unit, e.g. 500ms, 30s"),
        ("risk:\n  cooldown: 0s\n", 2, "a duration above zero is needed"),
        ("risk:\n  lookback: 36501d\n", 2, "too long: write at most 36500d"),
        ("risk:\n  cooldown: 99999999999999h\n", 2, "too long: write at most 36500d"),
        ("risk:\n  denied_assets: [BTC, doge]\n", 2, "risk.denied_assets.1"),
        ("risk:\n  denied_assets: [BTC/USDT]\n", 2, "risk.denied_assets.0"),
        ("risk:\n  max_trade_amount: lots\n", 2, "write digits, e.g. 0.03 or 1000"),
        ("risk:\n  max_trade_amount: -1\n", 2, "greater than 0"),
        ("risk:\n  max_trade_amount: NaN\n", 2, "not a finite number"),
        ("risk:\n  fee_reserve: 2\n", 2, "less than or equal to 1"),
        ("trading:\n  stop_loss: 0\n", 2, "greater than 0"),
        ("trading:\n  stop_loss: 1\n", 2, "less than 1"),
        ("trading:\n  take_profit: 0\n", 2, "greater than 0"),
        ("trading:\n  stop_limit_offset: 1\n", 2, "less than 1"),
        ("execution:\n  ram_limit: 47\n", 2, "write a whole number and a unit, e.g. 800MB"),
        ("execution:\n  concurrency: 0\n", 2, "greater than or equal to 1"),
        (
            "execution:\n  task_time_limit: 10s\n",
            1,
            "task_soft_time_limit must be shorter than task_time_limit",
        ),
        ("market:\n  timeframe: 7x\n", 2, "write e.g. 5m, 1h, 4h or 1d"),
        ("market:\n  symbols: [BTC/USDT, ETH/USDT]\n", 1, "add it to market.venue.data as SYMBOL=FILE"),
        ("market:\n  symbols:\n    - BTC/USDT\n    - btc\n", 4, "market.symbols.1"),
        ("market:\n  symbols: [BTC/USDT, ETH/BTC]\n", 1, "limits and equity need one quote"),
        ("market:\n  venue:\n    data: [candles.csv]\n", 2, "write SYMBOL=FILE, e.g. BTC/USDT=candles.csv"),
        ("market:\n  exchange:\n    id: okx\n", 2, "set mode live, or such an id"),
        ("models:\n  max_tokens: 2000\n", 1, "at most half of context_length"),
        ("models:\n  deadline: 100s\n", 2, "must be shorter than execution.task_soft_time_limit"),
        (
            "execution:\n  task_soft_time_limit: 30s\n",
            2,
            "must be shorter than execution.task_soft_time_limit",
        ),
        ("risk: 5\n", 1, "a section is needed: write its settings below it, indented"),
        ("self_optimization:\n  min_cases: 30\n", 1, "min_cases must not be above max_cases"),
        ("risk:\n  cooldown: 1h\n  cooldown: 2h\n", 3, "risk.cooldown is set twice: keep one"),
        ("risk: [\n", None, "not valid YAML"),
        ("just text\n", 1, "sections are needed"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line_and_its_remedy(
    config: Path, text: str, line: int | None, words: str
) -> None:
    config.write_text(text)
    message = refusal(config)
    assert words in message
    assert message.startswith(f"{config}:{line}:" if line else str(config))


def test_every_wrong_setting_is_named_at_once(config: Path) -> None:
    config.write_text("risk:\n  cooldown: 60\n  coldown: 1h\n")
    assert len(refusal(config).splitlines()) == 2


def test_a_missing_file_names_the_command_that_writes_one(config: Path) -> None:
    assert "`alina init`" in refusal(config)


def test_a_file_that_is_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(config)


def test_a_decimal_in_the_file_is_kept_to_its_last_digit(config: Path) -> None:
    config.write_text("risk:\n  fee_reserve: 0.1234567890123456789\n")
    assert load_settings(config).risk.fee_reserve == Decimal("0.1234567890123456789")


def test_a_tag_that_would_build_an_object_is_refused(config: Path) -> None:
    config.write_text("risk: !!python/object/apply:os.getcwd []\n")
    assert "not valid YAML" in refusal(config)


def test_the_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("risk:\n  cooldown: 1h\nmarket:\n  exchange:\n    timeout: 3s\n")
    monkeypatch.setenv("ALINA_RISK__COOLDOWN", "30m")
    monkeypatch.setenv("ALINA_MARKET__EXCHANGE__TIMEOUT", "4s")
    monkeypatch.setenv("ALINA_MARKET__SYMBOLS", '["BTC/USDT"]')
    monkeypatch.setenv("ALINA_TRADING__TAKE_PROFIT", "null")
    settings = load_settings(config)
    assert settings.risk.cooldown == timedelta(minutes=30)
    assert settings.market.exchange.timeout == timedelta(seconds=4)
    assert settings.trading.take_profit is None


def test_the_environment_may_name_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("risk:\n  cooldown: 7m\n")
    monkeypatch.setenv("ALINA_CONFIG", str(config))
    assert load_settings().risk.cooldown == timedelta(minutes=7)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALINA_RISK__COOLDOWN", "60", "environment: ALINA_RISK__COOLDOWN: "),
        ("ALINA_RISK__COLDOWN", "1h", "environment: ALINA_RISK__COLDOWN: unknown setting"),
        ("ALINA_COOLDOWN", "1h", "environment: ALINA_COOLDOWN is no setting: write ALINA_SECTION__KEY"),
        ("ALINA_MARKET__SYMBOLS", "BTC/USDT", "written as JSON"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    config.write_text("")
    monkeypatch.setenv(variable, value)
    assert words in refusal(config)


@pytest.mark.parametrize(
    "name",
    [
        "database_url",
        "agent_database_url",
        "executor_database_url",
        "monitor_database_url",
        "redis_url",
        "exchange_api_key",
        "exchange_secret",
        "flower_password",
        "model_keys",
    ],
)
def test_a_secret_in_the_file_is_refused_without_being_shown(config: Path, name: str) -> None:
    config.write_text(f"risk: {{}}\n{name}: hunter2\n")
    message = refusal(config)
    assert message.startswith(f"{config}:2:")
    assert f"ALINA_{name.upper()}" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("key", ["apiKey", "secret", "password"])
def test_a_secret_among_the_exchange_options_is_refused(config: Path, key: str) -> None:
    options = {"market": {"exchange": {"options": {"options": {key: "hunter2"}}}}}
    config.write_text(yaml.safe_dump(options))
    message = refusal(config)
    assert "set ALINA_EXCHANGE_API_KEY" in message
    assert "hunter2" not in message


def test_secrets_never_show_in_text(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("")
    names = ("DATABASE_URL", "REDIS_URL", "EXCHANGE_API_KEY", "EXCHANGE_SECRET", "FLOWER_PASSWORD")
    for name in (*names, "MODEL_KEYS__OPENAI"):
        monkeypatch.setenv(f"ALINA_{name}", "hunter2")
    settings = load_settings(config)
    for text in (repr(settings), str(settings), settings.model_dump_json(), render_config()):
        assert "hunter2" not in text
    assert settings.exchange_secret is not None
    assert settings.exchange_secret.get_secret_value() == "hunter2"
    assert settings.model_keys["openai"].get_secret_value() == "hunter2"


@pytest.mark.parametrize("base_url", ["http://models.example/v1", "ftp://models.example", "https://me:pw@x"])
def test_a_provider_is_not_reached_in_the_clear(config: Path, base_url: str) -> None:
    config.write_text(yaml.safe_dump({"models": {"providers": {"mine": {"base_url": base_url}}}}))
    assert "models.providers.mine" in refusal(config)


def test_a_limit_on_money_needs_the_price_of_every_model_elsewhere(config: Path) -> None:
    models = {"fallback": ["provider:groq/m"], "budget": {"day": {"money": "5"}}}
    config.write_text(yaml.safe_dump({"models": models}))
    assert "prices has no provider:groq/m" in refusal(config)
    priced = {**models, "prices": {"provider:groq/m": {"input": "0.5", "output": "1.5"}}}
    config.write_text(yaml.safe_dump({"models": priced}))
    assert load_settings(config).models.price("provider:groq/m").output == Decimal("1.5")


def test_a_price_below_zero_is_refused(config: Path) -> None:
    models = {"prices": {"provider:groq/m": {"input": "-1", "output": "1"}}}
    config.write_text(yaml.safe_dump({"models": models}))
    assert "models.prices" in refusal(config)


def test_relative_paths_begin_at_the_file(config: Path) -> None:
    config.write_text("system:\n  data_folder: here/data\n")
    assert load_settings(config).data_folder == config.parent / "here" / "data"


def test_settings_never_change(config: Path) -> None:
    config.write_text("")
    with pytest.raises(ValueError, match="frozen"):
        load_settings(config).risk.cooldown = timedelta(0)  # type: ignore[misc]


def test_an_equity_may_be_older_than_two_reconciliations_take(config: Path) -> None:
    config.write_text("risk: {max_equity_age: 59s}\n")
    assert "at least twice monitoring.reconcile_interval" in refusal(config)
    for fitting in ("60s", "null"):
        config.write_text(f"risk: {{max_equity_age: {fitting}}}\n")
        load_settings(config)
