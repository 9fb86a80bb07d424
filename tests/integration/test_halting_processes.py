"""`alina halt` holds for every executor once it returns: by the ledger's own times, under load."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from cli_command import alina, environment
from ledger_cases import empty
from sqlalchemy import Engine, text

from alina import bootstrap
from alina.config import Settings

#: proposes and executes without a pause, until the kernel has refused three times because of the halt
EXECUTOR = """
import os, sys
from dataclasses import replace
from uuid import uuid4
from alina.config import Settings
from alina.domain.decisions import ReasonCode
from alina.errors import OrderRejected
from alina.orchestrator import execution
from ledger_cases import proposal
from still_exchange import NOW, StillExchange, listing, still_runtime
from system import UNLIMITED

class Refusing(StillExchange):
    def submit(self, order, *, signed_at=None):
        raise OrderRejected("a drill")

account, symbol, database_url = sys.argv[1:]
settings = Settings(
    system={"account": account}, risk={**UNLIMITED, "cooldown": "1ms"}, market=listing([symbol])
)
runtime = still_runtime(settings, database_url, Refusing())
with runtime.unit_of_work() as uow:
    uow.ledger.record_balances(account, runtime.exchange.balances(), at=NOW)
refused = 0
while refused < 3:
    wish = proposal(id=uuid4(), account=account, symbol=symbol, as_of=NOW)
    with runtime.unit_of_work() as uow:
        uow.ledger.save_proposal(wish)
    refused += execution.execute(runtime, wish.id).reason is ReasonCode.TRADING_HALTED
"""
SENT = "FROM orders WHERE message NOT LIKE 'not sent%'"


@contextmanager
def executor(account: str, symbol: str, database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    path = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", EXECUTOR, account, symbol, database_url], env=environment(path)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sent(engine: Engine) -> dict[str, int]:
    """How many orders each account was allowed to send."""
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT symbol, count(*) AS sent {SENT} GROUP BY symbol"))
        return {row.symbol: row.sent for row in rows}


def now(engine: Engine) -> datetime:
    with engine.connect() as connection:
        return connection.execute(text("SELECT clock_timestamp()")).scalar_one()


def test_no_executor_of_any_account_claims_an_order_once_the_halt_has_returned(
    engine: Engine, ledger_url: str, tmp_path: Path
) -> None:
    empty(engine)
    accounts = ("main", "main", "other")
    for account in set(accounts):
        bootstrap.prepare_ledger(Settings(system={"account": account}), database_url=ledger_url)  # type: ignore[arg-type]
    (tmp_path / "config.yaml").write_text("system: {account: main}\n")
    symbols = ("ONE/USDT", "TWO/USDT", "SIX/USDT")
    with ExitStack() as stack:
        running = [
            stack.enter_context(executor(account, symbol, ledger_url))
            for account, symbol in zip(accounts, symbols, strict=True)
        ]
        deadline = time.monotonic() + 200
        while any(sent(engine).get(symbol, 0) < 5 for symbol in symbols):
            assert time.monotonic() < deadline, "every executor sends orders"
            assert all(process.poll() is None for process in running)
            time.sleep(0.05)
        halted = alina(tmp_path, "halt", "--system", env={"ALINA_DATABASE_URL": ledger_url})
        returned_at = now(engine)
        assert halted.code == 0, halted.err
        assert [process.wait(200) for process in running] == [0, 0, 0]
    with engine.connect() as connection:
        late = connection.execute(text(f"SELECT count(*) {SENT} AND submitted_at > :at"), {"at": returned_at})
        assert late.scalar_one() == 0
        left = connection.execute(text("SELECT count(*) FROM reservations WHERE state = 'held'"))
        assert left.scalar_one() == 0
