"""Shared by the ledger's tests: a migrated database, and the shortest way to each state of a trade."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from alina.db.tables import Base
from alina.domain.decisions import Approved, Decision, Proposal, content_hash
from alina.domain.market import Market
from alina.domain.orders import (
    Fill,
    Order,
    OrderSide,
    OrderState,
    OrderType,
    PlacedOrder,
    client_order_id_for,
)
from alina.domain.runs import Run, RunState
from alina.ledger import Ledger

#: the double does not know what only a running system asks
IN_POSTGRES = pytest.mark.parametrize("ledger", ["postgres"], indirect=True)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SYMBOL = "BTC/USDT"
MARKET = Market(
    symbol=SYMBOL,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_quantity=Decimal("0.0001"),
    max_quantity=None,
    min_notional=Decimal(5),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
)


def empty(engine: Engine) -> None:
    """Delete every row."""
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))


def with_agent(ledger: Ledger, account: str = "main") -> None:
    """The account, the agent `trading` and its first prompt revision."""
    ledger.ensure_account(account)
    ledger.ensure_revision("trading", system="Trade.", template="{{ figures }}", author="person")
    ledger.ensure_agent("trading", kind="TradingAgent", prompt="trading")


def run(key: str = "trading:BTC/USDT:1", **changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": uuid4(),
        "key": key,
        "agent": "trading",
        "symbol": SYMBOL,
        "timeframe": "1h",
        "as_of": NOON,
        "state": RunState.STARTED,
        "summary": "",
    }
    return Run(**values | changes)


def proposal(side: OrderSide = OrderSide.BUY, quantity: str = "1", **changes: Any) -> Proposal:
    values: dict[str, Any] = {
        "id": uuid4(),
        "run_id": None,
        "account": "main",
        "agent": "trading",
        "symbol": SYMBOL,
        "side": side,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(quantity),
        "limit_price": None,
        "reference_price": Decimal(100),
        "reduce_only": side is OrderSide.SELL,
        "close_reason": None,
        "stop_price": None,
        "take_profit_price": None,
        "close_after": None,
        "confidence": 70,
        "rationale": "the trend is up",
        "as_of": NOON,
        "expires_at": NOON + HOUR,
    }
    return Proposal(**values | changes)


def approved(wish: Proposal, asset: str = "USDT", reserve: str = "101") -> Approved:
    return Approved(content_hash=content_hash(wish), reserve_asset=asset, reserve_amount=Decimal(reserve))


def approve(ledger: Ledger, wish: Proposal, decided_at: datetime = NOON) -> Decision:
    """The proposal stored and approved."""
    ledger.save_proposal(wish)
    return ledger.save_decision(wish, approved(wish), snapshot={"now": "noon"}, decided_at=decided_at)


def order_for(wish: Proposal, decision: Decision) -> Order:
    return Order(
        client_order_id=client_order_id_for(decision.id),
        account=wish.account,
        symbol=wish.symbol,
        side=wish.side,
        order_type=wish.order_type,
        quantity=wish.quantity,
        limit_price=wish.limit_price,
        trigger_price=wish.trigger_price,
    )


def claim(ledger: Ledger, wish: Proposal, decided_at: datetime = NOON) -> Order:
    """The proposal stored, approved and claimed."""
    decision = approve(ledger, wish, decided_at)
    order = order_for(wish, decision)
    assert ledger.claim_order(decision, order)
    return order


def placed(order: Order, state: OrderState, filled: str | Decimal = "0") -> PlacedOrder:
    return PlacedOrder(
        client_order_id=order.client_order_id,
        exchange_order_id=f"x-{order.client_order_id}",
        symbol=order.symbol,
        side=order.side,
        state=state,
        quantity=order.quantity,
        filled_quantity=Decimal(filled),
        filled_notional=Decimal(filled) * 100,
        updated_at=NOON,
    )


def fill(order: Order, quantity: str | Decimal, trade_id: str | None = None, **changes: Any) -> Fill:
    values: dict[str, Any] = {
        "trade_id": trade_id or uuid4().hex,
        "exchange_order_id": f"x-{order.client_order_id}",
        "symbol": order.symbol,
        "side": order.side,
        "quantity": Decimal(quantity),
        "price": Decimal(100),
        "fee": Decimal(0),
        "fee_asset": "USDT",
        "is_maker": False,
        "executed_at": NOON,
    }
    return Fill(**values | changes)


def trade(ledger: Ledger, wish: Proposal, *, price: str = "100", at: datetime = NOON, **fees: Any) -> Order:
    """The proposal carried out in one fill of its whole quantity."""
    order = claim(ledger, wish, at)
    ledger.record_placed(placed(order, OrderState.FILLED, wish.quantity))
    whole = replace(fill(order, wish.quantity, executed_at=at), price=Decimal(price), **fees)
    ledger.record_fills(order.client_order_id, [whole], market=MARKET)
    return order


def closed_position(ledger: Ledger, *, opened: datetime = NOON, price: str = "110") -> UUID:
    """One bought and one sold at `price`, an hour later."""
    trade(ledger, proposal(), at=opened)
    position = ledger.open_position("main", SYMBOL)
    assert position is not None
    trade(ledger, proposal(OrderSide.SELL), price=price, at=opened + HOUR)
    return position.id
