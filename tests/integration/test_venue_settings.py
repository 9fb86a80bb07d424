"""What config.yaml says of the local exchange reaches it, and those who ask it."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from alina import bootstrap
from alina.cli.data_files import mirrored
from alina.config import Settings, load_settings
from alina.embedded.folder import DataFolder
from alina.errors import ConfigError, ExchangeUnavailable
from alina.exchange.budget import SharedBudget
from alina.exchange.budget_server import BudgetServer
from alina.orchestrator.stack import VENUE, venue_spec

VENUE_SETTINGS = {
    "fee_asset": "BNB",
    "fee_asset_prices": {"USDT": "600"},
    "balances": {"USDT": "10000", "BNB": "2"},
    "weight_limit": 1200,
    "order_limit_10s": 50,
}


def settings_of(folder: Path, **venue: object) -> Settings:
    exchange = {"timeout": timedelta(seconds=1)}
    return Settings.model_validate(
        {"system": {"data_folder": folder}, "market": {"exchange": exchange, "venue": venue}}
    )


def test_the_venues_limits_and_its_fee_asset_are_settings(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    spec = venue_spec(settings_of(tmp_path, **VENUE_SETTINGS), folder, tmp_path)
    assert (spec.weight_limit, spec.order_limit_10s) == (1200, 50)
    assert (spec.fee_asset, spec.fee_asset_prices) == ("BNB", {"USDT": Decimal(600)})
    plain = venue_spec(settings_of(tmp_path), folder, tmp_path)
    assert (plain.weight_limit, plain.order_limit_10s, plain.fee_asset) == (None, None, None)


def test_a_fee_asset_without_a_price_in_every_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="price of BNB in USDT"):
        settings_of(tmp_path, fee_asset="BNB")


@pytest.mark.parametrize("is_limited", [True, False])
def test_the_budget_is_shared_where_the_venue_has_limits(
    tmp_path: Path, redis_url: str, is_limited: bool
) -> None:
    settings = settings_of(tmp_path, **({"order_limit_10s": 50} if is_limited else {}))
    (tmp_path / VENUE).mkdir()
    (tmp_path / VENUE / "venue.url").write_text("http://127.0.0.1:9")  # nobody listens
    other = SharedBudget(
        BudgetServer(redis_url).evaluate, "paper:binance", account="main", limit=Decimal(1200)
    )
    other.learn(418, {"Retry-After": "3600"}, "")
    exchange = bootstrap.make_exchange(settings, bootstrap.NO_KEYS, redis_url)
    with pytest.raises(ExchangeUnavailable) as caught:
        exchange.market("BTC/USDT")
    assert ("not sent" in str(caught.value)) == is_limited
    exchange.close()


def test_paper_trading_against_a_live_market_mirrors_every_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"system: {{data_folder: {tmp_path}}}\n"
        "market: {exchange: {mode: live, options: {hostname: other}}, symbols: [BTC/USDT, ETH/USDT]}\n"
    )
    for exchange_id, dialect in (("kraken", "kraken"), ("okx", "binance")):
        for name, value in mirrored(load_settings(config), exchange_id).items():
            monkeypatch.setenv(name, value)
        spec = venue_spec(load_settings(config), DataFolder(tmp_path), tmp_path)
        assert [(one.symbol, one.data) for one in spec.listings] == [
            ("BTC/USDT", f"mirror:{exchange_id}:1h"),
            ("ETH/USDT", f"mirror:{exchange_id}:1h"),
        ]
        assert (spec.dialect, spec.speed, spec.mirror_options) == (dialect, 1, {"hostname": "other"})
        assert "__" in name  # so that the processes of the system inherit it
    with pytest.raises(ConfigError, match="no such exchange"):
        mirrored(load_settings(config), "nowhere")


def test_no_option_sends_a_paper_order_to_another_server(tmp_path: Path) -> None:
    (tmp_path / VENUE).mkdir()
    (tmp_path / VENUE / "venue.url").write_text("http://127.0.0.1:9")
    elsewhere = {"urls": {"api": {"private": "http://127.0.0.1:10/api/v3"}}}
    settings = Settings.model_validate(
        {"system": {"data_folder": tmp_path}, "market": {"exchange": {"options": elsewhere}}}
    )
    exchange = bootstrap.make_exchange(settings, bootstrap.NO_KEYS)
    assert exchange._client.api.urls["api"]["private"] == "http://127.0.0.1:9/api/v3"
    exchange.close()
