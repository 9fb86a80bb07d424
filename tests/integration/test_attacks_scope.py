"""Attacks by naming what an executor does not look after: another's account, a symbol nobody watches."""

from collections.abc import Callable
from functools import partial

import pytest
from system import RunningVenue, System, empty, proposal, settings_for, system

from alina.domain.decisions import ReasonCode
from alina.domain.orders import OrderSide
from alina.errors import LedgerError
from alina.orchestrator import sweeping

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


def test_a_proposal_of_another_account_is_left_to_its_own_executor(make: Make) -> None:
    """Else one account's limits and books would allow what another one's keys order."""
    ours, theirs = make(), make()
    wish = proposal(theirs)
    with pytest.raises(LedgerError, match=f"of account {theirs.runtime.account}"):
        ours.execute(wish.id)
    assert (theirs.on_venue(), _decided(theirs)) == (0, [])
    sweeping.sweep(ours.runtime)
    assert ours.sent == []
    sweeping.sweep(theirs.runtime)
    theirs.deliver()
    assert (theirs.on_venue(), _decided(theirs)) == (1, ["approved"])
    with pytest.raises(LedgerError):
        ours.execute(wish.id)


def test_an_entry_in_a_symbol_that_nobody_watches_is_denied_and_an_exit_of_it_is_not(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    decision = one.execute(proposal(one, symbol=venue.symbol()).id)
    assert decision.reason is ReasonCode.SYMBOL_NOT_TRADED

    assert one.execute(proposal(one).id).verdict == "approved"
    folder, account = one.runtime.settings.data_folder, one.runtime.account
    no_more = one.with_parts(settings=settings_for(folder, venue.symbol(), account))
    assert no_more.execute(proposal(one, OrderSide.SELL, "0.9").id).verdict == "approved"
    assert no_more.execute(proposal(one).id).reason is ReasonCode.SYMBOL_NOT_TRADED


def _decided(one: System) -> list[str]:
    with one.work() as uow:
        return [trail.decision.verdict for trail in uow.ledger.decisions(limit=9, symbol=one.symbol)]
