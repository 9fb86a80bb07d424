"""`alina markets`, `balance` and `exchanges`, against a venue in the place of a real exchange."""

import json
from pathlib import Path

import pytest
from cli_command import InProcess
from system import KEYS, RunningVenue

from alina.cli.told import telling
from alina.embedded.folder import DataFolder
from alina.venue.ccxt_options import venue_options

VENUE_SYMBOLS = 3
WITH_KEYS = {"ALINA_EXCHANGE_API_KEY": KEYS.api_key, "ALINA_EXCHANGE_SECRET": KEYS.secret}


@pytest.fixture
def command(
    tmp_path: Path,
    venue: RunningVenue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> InProcess:
    exchange = {"mode": "live", "options": venue_options(venue.url)}
    (tmp_path / "config.yaml").write_text(json.dumps({"market": {"exchange": exchange}}))
    return InProcess(tmp_path, monkeypatch, capsys)


def test_markets_show_the_rules_of_each(command: InProcess) -> None:
    said = command("markets", "--json")
    assert [one["symbol"] for one in said.json] == ["T000/USDT", "T001/USDT", "T002/USDT"]
    assert said.json[0]["lot_size"] == "0.00001000"
    assert said.json[0]["trading"] is True
    assert "T001/USDT" in command("markets").out


def test_markets_are_narrowed_by_symbol_and_quote(command: InProcess) -> None:
    assert [one["symbol"] for one in command("markets", "T001/USDT", "--json").json] == ["T001/USDT"]
    assert len(command("markets", "--quote", "USDT", "--json").json) == 3
    refused = command("markets", "--quote", "EUR")
    assert (refused.code, refused.out) == (2, "")
    assert "no spot market is priced in EUR" in refused.err


def test_an_unlisted_symbol_is_refused(command: InProcess) -> None:
    said = command("markets", "T00/USDT")
    assert said.code == 2
    assert "did you mean T00" in said.err


def test_the_balance_is_what_the_account_holds(command: InProcess) -> None:
    said = command("balance", "--json", env=WITH_KEYS)
    assert said.json == [{"asset": "USDT", "free": "1000000.00000000", "locked": "0.00000000"}]
    assert "1000000" in command("balance", env=WITH_KEYS).out


def test_the_balance_needs_keys(command: InProcess) -> None:
    said = command("balance")
    assert said.code == 2
    assert "ALINA_EXCHANGE_API_KEY" in said.err


def test_in_paper_mode_the_venue_must_run(tmp_path: Path, command: InProcess) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    for name in ("markets", "balance"):
        said = command(name)
        assert said.code == 2
        assert "`alina up`" in said.err


def test_what_alina_up_was_told_counts_while_it_runs(
    tmp_path: Path, command: InProcess, venue: RunningVenue
) -> None:
    """As after `alina up --paper ...`: the file says live on another exchange, and what runs is a venue."""
    config = {
        "system": {"data_folder": "data"},
        "market": {"exchange": {"id": "kraken", "mode": "live"}},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    folder = DataFolder(tmp_path / "data")
    for name, key in (("venue_api_key", KEYS.api_key), ("venue_secret", KEYS.secret)):
        folder.write(f"secrets/{name}", key or "")
    folder.write("venue/venue.url", venue.url)
    told = {"ALINA_MARKET__EXCHANGE__MODE": "paper", "ALINA_MARKET__EXCHANGE__ID": "binance"}
    with folder.lock(), telling(folder, told):
        assert command("balance", "--json").json[0]["asset"] == "USDT"
        assert len(command("markets", "--json").json) == 3
        left = (folder.path / "run/environment.json").read_text()
    assert "ALINA_EXCHANGE_API_KEY" in command("balance").err
    folder.write("run/environment.json", left)  # as a killed `alina up` leaves it
    assert "ALINA_EXCHANGE_API_KEY" in command("balance").err


def test_exchanges_say_what_they_support(command: InProcess) -> None:
    (binance,) = command("exchanges", "binance", "--json").json
    assert binance["orders_found_by"] == "client order id"
    assert binance["stops_wait_at"] == "exchange"
    assert binance["timeframes"][:2] == ["1m", "3m"]
    everyone = command("exchanges", "--json").json
    assert len(everyone) > 50
    assert {"lists", "client order id"} == {one["orders_found_by"] for one in everyone}
    assert "kraken" in command("exchanges").out


def test_an_unknown_exchange_is_refused(command: InProcess) -> None:
    said = command("exchanges", "nope")
    assert (said.code, said.out) == (2, "")
    assert "nope is no exchange with spot markets" in said.err
