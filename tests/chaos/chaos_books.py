"""The venue's own evidence against the ledger's rows: orders, fills, balances, and what is held for them.

Nothing of alina.orchestrator is used here: what compares must not be what is tested.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import ccxt
from executor import Desk
from proving_ground import ACCOUNT, Stage
from scenarios import FOREIGN
from sqlalchemy import text
from system import KEYS

from alina.domain.market import Balances
from alina.domain.orders import Fill, LedgerOrder, OrderState
from alina.venue.ccxt_options import venue_options

_STATES = {
    "NEW": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELED,
    "EXPIRED": OrderState.EXPIRED,
}
#: what is held though no order that may still fill needs it
_HELD_FOR_NOTHING = """
    SELECT reservations.decision_id FROM reservations
    LEFT JOIN orders ON orders.decision_id = reservations.decision_id
    WHERE reservations.state = 'held' AND (orders.client_order_id IS NULL OR orders.settled)
"""
_PROPOSALS_WITH_ORDERS = """
    SELECT count(*) - count(DISTINCT decisions.proposal_id) FROM orders
    JOIN decisions ON decisions.id = orders.decision_id
"""


@dataclass
class Findings:
    """What is wrong: orders too many, orders that one side does not have, and everything else in words."""

    duplicates: int = 0
    lost: int = 0
    differences: list[str] = field(default_factory=list)


def examine(stage: Stage) -> Findings:
    """Compare every order, fill and balance to the last digit."""
    with closing(_client(stage.venue.url)) as venue:
        raw = [one for symbol in stage.symbols for one in _all(venue.privateGetAllOrders, symbol)]
        trades = [one for symbol in stage.symbols for one in _all(venue.privateGetMyTrades, symbol)]
        balances = venue.privateGetAccount()["balances"]
    with stage.desk.executor.unit_of_work() as uow:
        trails = [one for symbol in stage.symbols for one in uow.ledger.decisions(limit=1000, symbol=symbol)]
        fills = [one for symbol in stage.symbols for one in uow.ledger.fills(ACCOUNT, symbol)]
        opening = uow.ledger.opening_balances(ACCOUNT)
    raw = [one for one in raw if one["clientOrderId"] != FOREIGN]
    orders = [one.order for one in trails if one.order is not None]
    found = _orders(raw, orders)
    found.differences += _fills(trades, fills) + _balances(balances, opening, fills)
    with stage.ground.owner.connect() as rows:
        found.duplicates += rows.scalar(text(_PROPOSALS_WITH_ORDERS)) or 0
        found.differences += [f"held for nothing: {one}" for one in rows.scalars(text(_HELD_FOR_NOTHING))]
    return found


def _client(url: str) -> Any:
    keys = {"apiKey": KEYS.api_key, "secret": KEYS.secret}
    return ccxt.binance({**venue_options(url), "enableRateLimit": False, **keys})


def _all(ask: Any, symbol: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ask({"symbol": symbol.replace("/", ""), "limit": 1000})
    assert len(found) < 1000, "the newest thousand are all"
    return found


def _orders(raw: list[dict[str, str]], orders: Iterable[LedgerOrder]) -> Findings:
    count = Counter(one["clientOrderId"] for one in raw)
    ours = {one.order.client_order_id: one for one in orders if one.exchange_order_id is not None}
    found = Findings(duplicates=count.total() - len(count), lost=len(count.keys() ^ ours.keys()))
    if found.duplicates or found.lost:
        found.differences.append(f"orders {sorted(ours)} here, {sorted(count.elements())} on the venue")
    for one in raw:
        known = ours.get(one["clientOrderId"])
        theirs = (_STATES[one["status"]], Decimal(one["executedQty"]), Decimal(one["cummulativeQuoteQty"]))
        if known is not None and theirs != (known.state, known.filled_quantity, known.filled_notional):
            found.differences.append(f"order {known} is {theirs} on the venue")
    return found


def _fills(trades: list[dict[str, str]], fills: Iterable[Fill]) -> list[str]:
    numbers = ("qty", "price", "commission")
    theirs = Counter(
        (one["symbol"], str(one["id"]), *(Decimal(one[name]) for name in numbers), one["commissionAsset"])
        for one in trades
    )
    ours = Counter(
        (one.symbol.replace("/", ""), one.trade_id, one.quantity, one.price, one.fee, one.fee_asset)
        for one in fills
    )
    return [f"fill {one} is on the venue only" for one in theirs - ours] + [
        f"fill {one} is in the ledger only" for one in ours - theirs
    ]


def _balances(raw: list[dict[str, str]], opening: Balances, fills: Iterable[Fill]) -> list[str]:
    """What the account had, moved by every fill, is what it has."""
    expected = Counter({asset: balance.total for asset, balance in opening.items()})
    for fill in fills:
        base, quote = fill.symbol.split("/")
        sign = 1 if fill.side == "buy" else -1
        expected[base] += sign * fill.quantity
        expected[quote] -= sign * fill.notional
        expected[fill.fee_asset] -= fill.fee
    actual = {one["asset"]: Decimal(one["free"]) + Decimal(one["locked"]) for one in raw}
    return [
        f"{asset}: {expected[asset]} by the ledger's fills, {actual.get(asset, 0)} on the venue"
        for asset in expected.keys() | actual.keys()
        if expected[asset] != actual.get(asset, 0)
    ]


def state_of(desk: Desk) -> tuple[str, str]:
    """The account's trading state, and why."""
    with desk.executor.unit_of_work() as uow:
        account = uow.ledger.account(ACCOUNT)
    return account.trading_state, account.reason
