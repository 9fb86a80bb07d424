"""What the kernel is told of an account is the same from Postgres and from the ledger in memory."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from ledger_cases import (
    HOUR,
    IN_POSTGRES,
    MARKET,
    NOON,
    SYMBOL,
    approve,
    approved,
    claim,
    fill,
    placed,
    proposal,
    trade,
    with_agent,
)

from alina.domain.activity import ActivityQuery
from alina.domain.market import Balance
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, Equity
from alina.errors import LedgerError
from alina.ledger import Ledger
from alina.ledger.in_memory import InMemoryLedger


def query(hours: int, side: OrderSide = OrderSide.BUY) -> ActivityQuery:
    return ActivityQuery(
        account="main",
        agent="trading",
        symbol=SYMBOL,
        side=side,
        now=NOON + hours * HOUR,
        lookback=24 * HOUR,
        recent=2 * HOUR,
    )


def worth(hours: int, total: str) -> Equity:
    return Equity(account="main", as_of=NOON + hours * HOUR, cash=Decimal(total), holdings=Decimal(0))


def traded(ledger: Ledger, hours: int, price: str, reason: CloseReason) -> None:
    """Bought at 100, sold at `price` half an hour later."""
    trade(ledger, proposal(), at=NOON + hours * HOUR)
    sale = proposal(OrderSide.SELL, close_reason=reason)
    trade(ledger, sale, price=price, at=NOON + hours * HOUR + timedelta(minutes=30))


def test_nothing_was_done_yet(ledger: Ledger) -> None:
    activity = ledger.activity(query(0))
    assert (activity.equity, activity.last_entry_at, activity.symbol_return) == (None, None, None)
    assert (activity.open_positions, activity.volume_today, activity.has_balances) == (0, 0, False)


def test_results_are_counted_by_their_day_their_lookback_and_the_last_winner(ledger: Ledger) -> None:
    traded(ledger, -30, "90", CloseReason.STOP_LOSS)
    traded(ledger, -20, "110", CloseReason.TAKE_PROFIT)
    traded(ledger, -4, "95", CloseReason.STOP_LOSS)
    traded(ledger, -3, "96", CloseReason.AGENT)
    activity = ledger.activity(query(0))
    assert (activity.pnl_today, activity.losses_in_a_row) == (-9, 2)
    assert (activity.stop_losses, activity.symbol_stop_losses, activity.symbol_trades) == (1, 1, 3)
    assert activity.symbol_return is not None
    assert round(activity.symbol_return, 12) == round(Decimal(1) / 300, 12)


def test_what_happens_at_midnight_is_of_the_new_day_and_at_the_lookbacks_edge_within_it(
    ledger: Ledger,
) -> None:
    half = timedelta(minutes=30)
    traded(ledger, -13, "80", CloseReason.STOP_LOSS)
    trade(ledger, proposal(), at=NOON - 12 * HOUR - half)
    trade(
        ledger, proposal(OrderSide.SELL, close_reason=CloseReason.STOP_LOSS), price="90", at=NOON - 12 * HOUR
    )
    for hours, total in ((-13, "1000"), (-12, "500")):
        ledger.record_equity(worth(hours, total))
    activity = ledger.activity(query(0))
    assert (activity.volume_today, activity.pnl_today, activity.equity_at_day_start) == (100, -10, 1000)
    at_the_edge = ledger.activity(query(12))
    assert (at_the_edge.stop_losses, at_the_edge.symbol_stop_losses, at_the_edge.losses_in_a_row) == (1, 1, 1)
    assert (at_the_edge.symbol_trades, at_the_edge.symbol_return) == (1, Decimal("-0.1"))


def test_what_another_account_does_is_not_counted(ledger: Ledger) -> None:
    traded(ledger, -3, "96", CloseReason.STOP_LOSS)
    ledger.record_equity(worth(-1, "1000"))
    before = replace(ledger.activity(query(1)), equity_age=None)
    with_agent(ledger, "other")
    for side in OrderSide:
        trade(ledger, proposal(side, account="other", close_reason=CloseReason.STOP_LOSS), price="90")
    claim(ledger, proposal(account="other"))
    trade(ledger, proposal(account="other", symbol=SYMBOL), at=NOON + timedelta(minutes=1))
    for hours, total in ((-14, "3000"), (0, "2000")):
        ledger.record_equity(replace(worth(hours, total), account="other"))
    ledger.begin_new_peak("other", reason="withdrew 500", by="dana")
    ledger.record_balances(
        "other", {"USDT": Balance(asset="USDT", free=Decimal(1), locked=Decimal(0))}, at=NOON
    )
    assert replace(ledger.activity(query(1)), equity_age=None) == before
    assert ledger.locked_standing(query(1), proposal().id).position is None


def test_the_same_again_is_of_the_same_agent_symbol_and_side_and_was_not_rejected(ledger: Ledger) -> None:
    ledger.ensure_agent("another", kind="TradingAgent", prompt="trading")
    for wish in (proposal(symbol="ETH/USDT"), proposal(agent="another"), proposal(OrderSide.SELL)):
        approve(ledger, wish)
    ledger.record_rejected(claim(ledger, proposal()).client_order_id, message="no")
    assert ledger.activity(query(1)).last_same_at is None
    approve(ledger, proposal())
    assert ledger.activity(query(1)).last_same_at == NOON


def test_what_is_reserved_is_counted_by_its_asset_and_two_equal_entries_twice(ledger: Ledger) -> None:
    for _ in range(2):
        approve(ledger, proposal())
    sale = proposal(OrderSide.SELL)
    ledger.save_proposal(sale)
    ledger.save_decision(sale, approved(sale, "BTC", "0.7"), snapshot={}, decided_at=NOON)
    activity = ledger.activity(query(1))
    assert (activity.reserved_base, activity.reserved_quote) == (Decimal("0.7"), 202)
    assert (activity.open_positions, activity.exposure, activity.symbol_exposure) == (1, 202, 202)


@IN_POSTGRES
def test_a_reservation_that_ended_since_the_balances_were_asked_for_still_counts(ledger: Ledger) -> None:
    with_agent(ledger, "other")
    for account in ("main", "other", "other"):
        trade(ledger, proposal(account=account))
    for year, reserved in ((2000, 101), (2200, 0)):
        asked = replace(query(1), balances_asked_at=datetime(year, 1, 1, tzinfo=UTC))
        assert ledger.activity(asked).reserved_quote == reserved


def test_what_is_held_reserved_and_turned_over_is_counted_once(ledger: Ledger) -> None:
    trade(ledger, proposal(), at=NOON - HOUR)
    entering = claim(ledger, proposal(), NOON)
    ledger.record_placed(placed(entering, OrderState.PARTIALLY_FILLED, "0.5"))
    ledger.record_fills(entering.client_order_id, [fill(entering, "0.5")], market=MARKET)
    approve(ledger, proposal(symbol="ETH/USDT"), NOON)
    stop = proposal(
        OrderSide.SELL, order_type=OrderType.STOP_LIMIT, limit_price=Decimal(90), trigger_price=Decimal(91)
    )
    approve(ledger, stop, NOON)
    activity = ledger.activity(query(1))
    assert (activity.open_positions, activity.volume_today) == (2, 302)
    assert (activity.exposure, activity.symbol_exposure) == (352, 251)
    assert (activity.reserved_quote, activity.last_entry_at, activity.last_same_at) == (303, NOON, NOON)
    assert activity.orders_last_minute == 4
    assert ledger.activity(query(1, OrderSide.SELL)).last_same_at == NOON
    standing = ledger.locked_standing(query(1), proposal().id)
    assert asdict(standing.activity) == asdict(activity)
    assert standing.position == ledger.open_position("main", SYMBOL)


def test_an_exposure_partly_in_another_quote_is_not_known(ledger: Ledger) -> None:
    """Half a BTC would count as half a USDT: `market.symbols` may have named another quote before."""
    claim(ledger, proposal(symbol="ETH/USDT"))
    trade(ledger, proposal())
    assert ledger.activity(query(1)).exposure == 201
    claim(ledger, proposal(symbol="ETH/BTC"))
    activity = ledger.activity(query(1))
    assert (activity.exposure, activity.symbol_exposure) == (None, 100)


def test_the_worth_has_a_peak_and_a_beginning_of_the_day(ledger: Ledger) -> None:
    for hours, total in ((-14, "1000"), (-13, "1100"), (-5, "1050"), (-1, "1040")):
        ledger.record_equity(worth(hours, total))
    ledger.record_balances(
        "main", {"USDT": Balance(asset="USDT", free=Decimal(1), locked=Decimal(0))}, at=NOON
    )
    activity = ledger.activity(query(0))
    assert (activity.equity, activity.equity_at) == (1040, NOON - HOUR)
    assert (activity.equity_peak, activity.equity_at_day_start) == (1100, 1100)
    assert activity.has_balances


def test_the_age_of_the_equity_is_counted_by_the_wall_from_its_last_recording(ledger: Ledger) -> None:
    ledger.record_equity(worth(-9, "1000"))
    first, second = (ledger.activity(query(0)).equity_age for _ in range(2))
    assert first is not None
    assert second is not None
    assert timedelta(0) <= first <= second < HOUR


def test_in_memory_too_an_equity_that_is_recorded_again_is_new() -> None:
    wall = [NOON]
    ledger = InMemoryLedger(wall=lambda: wall[0])
    ledger.ensure_account("main")
    ledger.record_equity(worth(0, "1000"))

    def age_after(hours: int) -> timedelta | None:
        wall[0] += hours * HOUR
        return ledger.activity(query(0)).equity_age

    assert age_after(3) == 3 * HOUR
    ledger.record_equity(worth(0, "1000"))
    ledger.record_equity(worth(-1, "900"))
    assert age_after(1) == HOUR


def counted(ledger: Ledger) -> tuple[Decimal | datetime | None, ...]:
    one = ledger.activity(query(0))
    return one.equity, one.equity_at, one.equity_peak, one.equity_at_day_start


def test_from_a_new_peak_on_only_the_equity_recorded_after_it_counts(ledger: Ledger) -> None:
    for hours, total in ((-14, "1000"), (-2, "900")):
        ledger.record_equity(worth(hours, total))
    assert counted(ledger) == (900, NOON - 2 * HOUR, 1000, 1000)
    ledger.begin_new_peak("main", reason="withdrew 500", by="dana")
    assert counted(ledger) == (None, None, None, None)
    assert ledger.activity(query(0)).equity_age is None
    ledger.record_equity(worth(-1, "400"))
    assert counted(ledger) == (400, NOON - HOUR, 400, 400)
    ledger.record_equity(worth(0, "390"))
    assert counted(ledger) == (390, NOON, 400, 400)
    assert [one.total for one in ledger.equity_curve("main")] == [1000, 900, 400, 390]
    assert [one.total for one in ledger.equity_curve("main", since=NOON - HOUR)] == [400, 390]


def test_a_new_peak_from_which_nothing_was_recorded_yet_stands(ledger: Ledger) -> None:
    ledger.record_equity(worth(-1, "1000"))
    first = ledger.begin_new_peak("main", reason="withdrew 500", by="dana")
    assert (first.number, first.reason, first.begun_by) == (1, "withdrew 500", "dana")
    assert ledger.begin_new_peak("main", reason="once more", by="eve") == first
    ledger.record_equity(worth(0, "500"))
    second = ledger.begin_new_peak("main", reason="deposited 500", by="eve")
    assert (second.number, second.reason) == (2, "deposited 500")
    assert counted(ledger) == (None, None, None, None)


def test_an_equity_of_the_same_time_counts_for_the_new_peak(ledger: Ledger) -> None:
    """Where a replayed market has ended its time stands still."""
    ledger.record_equity(worth(0, "1000"))
    ledger.begin_new_peak("main", reason="withdrew 500", by="dana")
    ledger.record_equity(worth(0, "500"))
    assert counted(ledger) == (500, NOON, 500, 500)
    assert ledger.equity_curve("main") == [worth(0, "1000"), worth(0, "500")]


def test_an_equity_that_was_asked_for_before_a_new_peak_does_not_count_for_it(ledger: Ledger) -> None:
    before = ledger.peak_number("main")
    ledger.begin_new_peak("main", reason="withdrew 500", by="dana")
    ledger.record_equity(worth(-1, "1000"), peak_number=before)
    assert counted(ledger) == (None, None, None, None)
    ledger.record_equity(worth(0, "500"), peak_number=ledger.peak_number("main"))
    assert counted(ledger) == (500, NOON, 500, 500)
    assert [one.total for one in ledger.equity_curve("main")] == [1000, 500]


def test_a_new_peak_is_of_one_account_that_is_known(ledger: Ledger) -> None:
    ledger.ensure_account("other")
    ledger.record_equity(worth(0, "1000"))
    ledger.record_equity(replace(worth(0, "2000"), account="other"))
    ledger.begin_new_peak("other", reason="withdrew", by="dana")
    assert counted(ledger)[0] == 1000
    with pytest.raises(LedgerError, match="nobody"):
        ledger.begin_new_peak("nobody", reason="withdrew", by="dana")
