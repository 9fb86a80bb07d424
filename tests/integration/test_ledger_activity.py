"""What the kernel is told of an account is the same from Postgres and from the ledger in memory."""

from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal

from ledger_cases import HOUR, MARKET, NOON, SYMBOL, approve, claim, fill, placed, proposal, trade

from alina.domain.activity import ActivityQuery
from alina.domain.market import Balance
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, Equity
from alina.ledger import Ledger


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


def test_the_worth_has_a_peak_and_a_beginning_of_the_day(ledger: Ledger) -> None:
    for hours, total in ((-14, "1000"), (-13, "1100"), (-5, "1050"), (-1, "1040")):
        moment = NOON + hours * HOUR
        ledger.record_equity(Equity(account="main", as_of=moment, cash=Decimal(total), holdings=Decimal(0)))
    ledger.record_balances(
        "main", {"USDT": Balance(asset="USDT", free=Decimal(1), locked=Decimal(0))}, at=NOON
    )
    activity = ledger.activity(query(0))
    assert (activity.equity, activity.equity_at) == (1040, NOON - HOUR)
    assert (activity.equity_peak, activity.equity_at_day_start) == (1100, 1100)
    assert activity.has_balances
