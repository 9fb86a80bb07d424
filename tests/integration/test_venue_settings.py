"""What config.yaml says of the local exchange reaches it, and those who ask it."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from alina import bootstrap
from alina.config import Settings
from alina.embedded.folder import DataFolder
from alina.errors import ExchangeUnavailable
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
