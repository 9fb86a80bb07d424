"""Attacks on the way from a proposal to the venue: bought is what was approved, once, or nothing."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from uuid import uuid4

import pytest
from attack_cases import login
from sqlalchemy import NullPool, create_engine, text
from system import BUY, HOUR, NOW, SELL, RunningVenue, System, proposal, system

from alina import bootstrap
from alina.db.roles import AGENT, EXECUTOR
from alina.domain.decisions import Approved, Proposal, ReasonCode, content_hash
from alina.domain.orders import Order, OrderSide, OrderType, client_order_id_for
from alina.domain.portfolio import TradingState
from alina.errors import ConfigError, ExchangeRefused, LedgerError, OrderRejected
from alina.exchange.candle_store import LOCAL
from alina.orchestrator import execution, learning, maintenance, polling, reconciliation, sweeping

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


@pytest.fixture(scope="module")
def as_role(ledger_url: str) -> Callable[[System, str], System]:
    """The same system in a process of one role."""
    units = {role: bootstrap.make_unit_of_work(login(ledger_url, role), LOCAL) for role in (AGENT, EXECUTOR)}
    return lambda one, role: one.with_parts(unit_of_work=units[role])


AsRole = Callable[[System, str], System]


def approved(one: System, wish: Proposal) -> None:
    """Approved, and not yet carried out: the process that decided has died."""
    yes = Approved(content_hash=content_hash(wish), reserve_asset="USDT", reserve_amount=Decimal(102))
    with one.work() as uow:
        uow.ledger.save_decision(wish, yes, snapshot={}, decided_at=one.runtime.clock.now())


def test_agents_and_executor_trade_with_no_more_than_their_rights(make: Make, as_role: AsRole) -> None:
    whole = make()
    agents, executor = as_role(whole, AGENT), as_role(whole, EXECUTOR)
    for side, answer in ((OrderSide.BUY, BUY), (OrderSide.SELL, SELL)):
        polling.poll_symbol(agents.runtime, agents.symbol)
        run = agents.answering(answer).run(side.value)
        with agents.work() as uow:
            wish = uow.ledger.proposal_of_run(run.id)
        assert wish is not None
        assert wish.side is side
        assert executor.execute(wish.id).verdict == "approved"
        assert reconciliation.reconcile(executor.runtime) == []
    with agents.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=agents.runtime.account)
    assert learning.evaluate(agents.runtime, closed.id).pnl == closed.realised_pnl
    assert learning.advance(agents.runtime, "trading", cases_at_once=8) is None
    polling.poll(agents.runtime)
    sweeping.sweep(agents.runtime)
    maintenance.maintain(agents.runtime)


def test_an_agents_process_cannot_carry_out_its_own_proposal(make: Make, as_role: AsRole) -> None:
    one = make()
    wish = proposal(one)
    with pytest.raises(ConfigError, match="permission denied"):
        as_role(one, AGENT).execute(wish.id)
    assert one.on_venue() == 0


def test_an_agents_process_cannot_take_a_halt_back(make: Make, as_role: AsRole) -> None:
    one = make()
    with (
        pytest.raises(ConfigError, match="permission denied"),
        as_role(one, AGENT).work() as uow,
    ):
        uow.ledger.set_trading_state(one.runtime.account, TradingState.ACTIVE, reason="", at=NOW)


def test_a_message_with_an_unknown_id_moves_nothing(make: Make, as_role: AsRole) -> None:
    one = make()
    with pytest.raises(LedgerError, match="is not in the ledger"):
        as_role(one, EXECUTOR).execute(uuid4())
    assert one.on_venue() == 0


def test_a_proposal_that_an_agent_stores_under_anothers_hash_is_denied(
    make: Make, as_role: AsRole, ledger_url: str
) -> None:
    one = make()
    small = proposal(one)
    columns = "run_id, account, agent, symbol, side, order_type, reference_price, reduce_only, confidence, "
    columns += "rationale, as_of, expires_at, content_hash"
    with create_engine(login(ledger_url, AGENT), poolclass=NullPool).begin() as connection:
        large = connection.scalar(
            text(
                f"INSERT INTO proposals (id, quantity, {columns}) "  # noqa: S608
                f"SELECT gen_random_uuid(), 100 * quantity, {columns} FROM proposals WHERE id = :id "
                "RETURNING id"
            ),
            {"id": small.id},
        )
    decisions = [as_role(one, EXECUTOR).execute(large) for _ in range(2)]
    assert [decision.reason for decision in decisions] == [ReasonCode.OTHER_CONTENT] * 2
    assert one.on_venue() == 0


def test_a_replayed_message_buys_nothing_more(make: Make, as_role: AsRole) -> None:
    executor = as_role(make(), EXECUTOR)
    wish = proposal(executor)

    def replay(_: int) -> str:
        return executor.execute(wish.id).verdict

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(replay, range(8))) == {"approved"}
    assert executor.execute(wish.id).verdict == "approved"
    assert executor.on_venue() == 1


def test_a_message_about_a_denied_proposal_moves_nothing(make: Make, as_role: AsRole) -> None:
    executor = as_role(make(), EXECUTOR)
    wish = proposal(executor, quantity="1000000")
    verdicts = [executor.execute(wish.id).verdict for _ in range(3)]
    assert verdicts == ["denied"] * 3
    assert executor.on_venue() == 0


def test_a_message_about_an_expired_proposal_moves_nothing(make: Make, as_role: AsRole) -> None:
    executor = as_role(make(), EXECUTOR)
    wish = proposal(executor, expires_at=NOW - HOUR)
    assert executor.execute(wish.id).reason is ReasonCode.PROPOSAL_EXPIRED
    assert executor.on_venue() == 0


@pytest.mark.parametrize(
    "edit",
    [
        "quantity = quantity * 2",
        "symbol = '{other}'",
        "side = 'sell'",
        "order_type = 'limit', limit_price = 200",
        "order_type = 'stop_limit', limit_price = 90, trigger_price = 91",
    ],
)
def test_what_the_owner_edits_after_the_approval_is_not_sent(
    make: Make, as_role: AsRole, ledger_url: str, edit: str
) -> None:
    one, other = make(), make()
    executor = as_role(one, EXECUTOR)
    wish = proposal(one)
    approved(one, wish)
    edit_as_owner(ledger_url, "proposals", f"{edit.format(other=other.symbol)} WHERE id = '{wish.id}'")

    with pytest.raises(LedgerError, match="is not what decision"):
        executor.execute(wish.id)
    assert one.on_venue() == other.on_venue() == 0


def test_what_the_owner_edits_before_a_resend_is_not_sent(
    make: Make, as_role: AsRole, ledger_url: str
) -> None:
    executor = as_role(make().resending(), EXECUTOR)
    wish = proposal(executor)
    approved(executor, wish)
    with executor.work() as uow:  # claimed by a process that died before its request left
        decision = uow.ledger.decision_of(wish.id)
        assert decision is not None
        order = Order(
            client_order_id=client_order_id_for(decision.id),
            account=wish.account,
            symbol=wish.symbol,
            side=wish.side,
            order_type=wish.order_type,
            quantity=wish.quantity,
            limit_price=None,
        )
        assert uow.ledger.claim_order(decision, order)
    edit_as_owner(ledger_url, "orders", f"quantity = 2 WHERE decision_id = '{decision.id}'")

    with pytest.raises(LedgerError, match="is not what decision"):
        settle_when_due(executor, order.client_order_id)
    assert executor.on_venue() == 0


def settle_when_due(one: System, client_order_id: str) -> None:
    """Ask until the order has been away for `execution.settle_after`."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        execution.settle(one.runtime, client_order_id)


def test_what_the_owner_edits_before_the_review_is_denied(
    make: Make, as_role: AsRole, ledger_url: str
) -> None:
    executor = as_role(make(), EXECUTOR)
    wish = proposal(executor)
    edit_as_owner(ledger_url, "proposals", f"quantity = quantity * 2 WHERE id = '{wish.id}'")
    assert executor.execute(wish.id).reason is ReasonCode.OTHER_CONTENT
    assert executor.on_venue() == 0


def edit_as_owner(url: str, table: str, change: str) -> None:
    """Past the trigger that forbids it, which only the owner can switch off."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        connection.execute(text(f"UPDATE {table} SET {change}"))  # noqa: S608
        connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def test_a_plugin_with_the_adapter_but_without_keys_reaches_nothing(make: Make) -> None:
    one = make()
    adapter = bootstrap.make_exchange(one.runtime.settings, bootstrap.NO_KEYS)
    order = Order(
        client_order_id="a-plugins-own",
        account=one.runtime.account,
        symbol=one.symbol,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal(1),
        limit_price=None,
    )
    with pytest.raises(OrderRejected, match="has no key"):
        adapter.submit(order)
    with pytest.raises(ExchangeRefused, match="has no key"):
        adapter.balances()
    adapter.close()  # type: ignore[attr-defined]  # the adapter's own
    assert one.on_venue() == 0


def test_a_plugin_that_guesses_keys_is_refused_by_the_venue(make: Make) -> None:
    one = make()
    for keys in (bootstrap.Keys("a-key", "guess"), bootstrap.Keys("guess", "guess")):
        adapter = bootstrap.make_exchange(one.runtime.settings, keys)
        with pytest.raises(ExchangeRefused):
            adapter.balances()
        adapter.close()  # type: ignore[attr-defined]  # the adapter's own
    assert one.on_venue() == 0
