"""Client order ids are spelled as each exchange takes them, and read back as ours."""

from uuid import UUID, uuid4

import pytest

from alina.domain.orders import client_order_id_for
from alina.exchange.traits import Finding, traits_of


@pytest.mark.parametrize("exchange_id", ["binance", "kraken", "okx", "bitvavo", "coinbaseexchange", "gate"])
def test_what_is_spelled_is_read_back(exchange_id: str):
    traits = traits_of(exchange_id)
    for told in (client_order_id_for(uuid4()), "al-1", "somebody-else", ""):
        assert traits.read(traits.spelled(told)) == told


@pytest.mark.parametrize("exchange_id", ["kraken", "bitvavo", "coinbaseexchange"])
def test_uuids_have_dashes_and_may_come_back_without(exchange_id: str):
    traits, ours = traits_of(exchange_id), client_order_id_for(uuid4())
    spelled = UUID(traits.spelled(ours))
    assert str(spelled) == traits.spelled(ours)
    assert spelled.hex[2:] == ours[2:]
    assert traits.read(spelled.hex) == ours


def test_an_exchange_that_is_not_listed_is_trusted_with_the_least():
    traits = traits_of("nobody")
    assert traits.finding is Finding.BY_SEARCH
    trusts = (traits.lists_stops_with_orders, traits.has_receive_window, traits.takes_uuids)
    assert not any(trusts)
