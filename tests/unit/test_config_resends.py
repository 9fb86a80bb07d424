"""When the settings allow an order to be sent again."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from alina.config import Settings


def settings(**sections: Any) -> Settings:
    return Settings(**sections)


def test_a_request_is_over_long_before_its_order_may_be_sent_again() -> None:
    for settle_after in ("2s", "7s", "30s", "5m"):
        execution = settings(execution={"settle_after": settle_after}).execution
        assert timedelta(0) < execution.receive_window <= execution.settle_after / 2


def test_too_short_a_wait_before_sending_again_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 2s"):
        settings(execution={"settle_after": "1s"})
    assert settings(execution={"settle_after": "1s", "resend_max": 0}).resends == 0


def test_a_longer_receive_window_of_ones_own_is_refused() -> None:
    exchange = {"options": {"options": {"recvWindow": 30_000}}}
    with pytest.raises(ValidationError, match="recvWindow"):
        settings(market={"exchange": exchange})
    settings(market={"exchange": exchange}, execution={"resend_max": 0})


def test_nothing_is_sent_again_to_an_exchange_whose_requests_do_not_expire() -> None:
    assert settings(market={"exchange": {"id": "kraken", "mode": "live"}}).resends == 0
    assert settings().resends == 1
