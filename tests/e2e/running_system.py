"""A system started as a user starts it, and what the tests ask of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import ccxt
import psutil

from alina import bootstrap
from alina.cli.status import SystemStatus, read_status
from alina.config import Settings, load_settings
from alina.domain.orders import OrderState
from alina.domain.runs import RunState
from alina.embedded.folder import DataFolder
from alina.embedded.lock import PidLock
from alina.errors import TransientError
from alina.orchestrator import comparison, execution
from alina.orchestrator.processes import is_child
from alina.orchestrator.runtime import Runtime
from alina.venue.ccxt_options import venue_options

SYMBOL = "BTC/USDT"
SERVERS = ("postgres", "redis", "venue")
WORKERS = ("execution", "inference", "default")
PROCESSES = (*SERVERS, *WORKERS, "beat", "flower", "metrics")

BUY = {
    "rationale": "the trend is up, a dip to buy",
    "action": "buy",
    "size_percent": 30,
    "confidence": 80,
    "stop_percent": 1,
}
SELL = {"rationale": "the move is exhausted", "action": "sell", "confidence": 75}
#: an answer that does not fit is asked again and gets the next line
SCRIPT = (
    BUY,
    SELL,
    BUY,
    SELL,
    {**BUY, "size_percent": 100},  # above risk.max_trade_amount
    SELL,
    {**BUY, "action": "hold"},
    {"text": "this is no JSON"},
    {"text": "nor is this"},
)
#: an hour of the market a second; what counts in wall time is short
CONFIG = """\
system: {data_folder: data}
execution: {concurrency: 1, soft_shutdown: 3s, settle_after: 5s}
market: {poll_interval: 500ms, venue: {speed: '3600'}}
trading: {gate_always_ask: true, max_holding: 6h, proposal_ttl: 48h}
risk: {max_price_age: 24h, cooldown: 1m, max_daily_volume: null, max_order_rate: null, duplicate_window: null,
  max_stop_losses: null, max_symbol_stop_losses: null, max_losses_in_a_row: null}
models: {default: 'scripted:answers.jsonl', threads: 1}
error_handling: {stuck_after: 3s, safe_mode_errors: 100000}
self_optimization: {interval: 10s}
monitoring: {reconcile_interval: 1s, sweep_interval: 2s, health_interval: 5s, maintenance_interval: 5s}
"""

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, *, within: float = 300) -> T:
    """The first true value of `look`. What is transient meanwhile is no failure; the deadline is."""
    deadline = time.monotonic() + within
    while True:
        with suppress(TransientError):
            if found := look():
                return found
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.1)


def alina(config: Path, *arguments: str) -> list[str]:
    """The command line of `alina --config CONFIG ...`."""
    return [sys.executable, "-m", "alina.cli.main", "--config", str(config), *arguments]


def write_script(home: Path) -> Path:
    """The scripted model's answers."""
    path = home / "answers.jsonl"
    path.write_text("\n".join(json.dumps(answer) for answer in SCRIPT))
    return path


class RunningSystem:
    """One data folder and its `alina up`."""

    def __init__(self, home: Path, *, config: str = CONFIG) -> None:
        self.home = home
        self.config = home / "config.yaml"
        self.config.write_text(config)
        write_script(home)
        self.settings: Settings = load_settings(self.config)
        self.folder = DataFolder(self.settings.data_folder)
        self.up_log = home / "up.log"
        self._up: subprocess.Popen[bytes] | None = None

    # commands

    def start(self) -> None:
        """`alina up`, until `alina status --json` says ready. Does nothing if it runs."""
        if self._up is not None and self._up.poll() is None:
            return
        with self.up_log.open("ab") as output:
            self._up = subprocess.Popen(
                alina(self.config, "up"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.home,
                start_new_session=True,
            )
        eventually(self._is_up, "`alina status` says ready")

    def _is_up(self) -> bool:
        assert self._up is not None
        assert self._up.poll() is None, self.up_log.read_text()[-3000:]
        return bool(json.loads(self.command("status", "--json").stdout)["ready"])

    def signal_up(self, number: signal.Signals) -> int:
        """Send a signal to `alina up`, wait for its end, and return its exit code."""
        assert self._up is not None
        self._up.send_signal(number)
        return self._up.wait(timeout=200)

    def down(self) -> None:
        """`alina down`."""
        done = self.command("down")
        assert done.returncode == 0, done.stderr
        if self._up is not None:
            self._up.wait(timeout=200)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Any command, to its end."""
        return subprocess.run(
            alina(self.config, *arguments), capture_output=True, text=True, timeout=200, check=False
        )

    def answer(self, *arguments: str, code: int = 0) -> Any:
        """What a command answers as JSON, and nothing else."""
        done = self.command(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    # processes

    def status(self) -> SystemStatus:
        """As `alina status` reads it."""
        return read_status(self.settings)

    def pid(self, name: str) -> int | None:
        """The pid of one process of the system, None while it is down."""
        return next((one.pid for one in self.status().processes if one.name == name and one.alive), None)

    def wait_until_ready(self, *, without: int | None = None) -> None:
        """Every process lives, none of them with the pid `without`, and every part answers."""

        def is_ready() -> bool:
            status = self.status()
            pids = {process.pid for process in status.processes}
            return status.exit_code == 0 and without not in pids

        eventually(is_ready, "every process lives again")

    def processes(self) -> list[psutil.Process]:
        """Every living process of this folder: supervisor, servers, workers, and all their children."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            if is_child(process, self.folder):
                found[process.pid] = process
        holders = [self.folder.holder(), *(PidLock(self._pid_file(name)).holder() for name in SERVERS)]
        for pid in holders:
            with suppress(psutil.NoSuchProcess):
                if pid is not None:
                    server = psutil.Process(pid)
                    found |= {one.pid: one for one in (server, *server.children(recursive=True))}
        return list(found.values())

    def _pid_file(self, name: str) -> Path:
        return self.folder.path / "run" / f"{name}.pid"

    def assert_nothing_is_left(self) -> None:
        """No process, no socket, and the locks are free."""
        eventually(lambda: not self.processes(), "no process is left")
        here = str(self.folder.path)
        eventually(lambda: not processes_that_name(here), "no process of the folder is left")
        assert [path for path in self.folder.path.rglob("*") if path.is_socket()] == []
        ports = json.loads((self.folder.path / "ports.json").read_text())
        assert [name for name, port in ports.items() if _listens(port)] == []
        with self.folder.lock():
            pass

    # the ledger and the venue

    @cached_property
    def runtime(self) -> Runtime:
        """The parts of a process with the account's keys, in the test's own process. Enqueues nothing."""
        return bootstrap.make_runtime(
            self.settings,
            database_url=bootstrap.connections(self.settings).database_url,
            send=lambda *_: None,
            keys=bootstrap.venue_keys(self.settings),
        )

    def close(self) -> None:
        """Let go of what `runtime` holds."""
        if "runtime" in self.__dict__:
            self.runtime.exchange.close()  # type: ignore[attr-defined]  # the adapter's own
            del self.__dict__["runtime"]

    def counts(self) -> dict[str, int]:
        """The ledger's totals, and `runs` and `orders` in all that ended."""
        with self.runtime.unit_of_work() as uow:
            counts = uow.ledger.counts()
        ended = [state for state in RunState if state is not RunState.STARTED]
        return counts | {
            "runs": sum(counts[f"runs:{state.value}"] for state in ended),
            "orders": counts["orders:filled"],
        }

    def wait_for_more(self, runs: int = 3, orders: int = 1) -> None:
        """Until so many more runs have ended and orders were filled than now."""
        before = eventually(self.counts, "the ledger answers")

        def has_more() -> bool:
            now = self.counts()
            return now["runs"] >= before["runs"] + runs and now["orders"] >= before["orders"] + orders

        eventually(has_more, f"{runs} more runs and {orders} more orders")

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Trading stopped by `alina halt`, with nothing in flight any more."""
        assert self.answer("halt", "--reason", "a test looks at the books")["now"] == "HALTED"
        try:
            eventually(self._is_settled, "every order is settled or rests")
            yield
        finally:
            assert self.answer("resume")["now"] == "ACTIVE"

    def _is_settled(self) -> bool:
        execution.settle_all(self.runtime)
        with self.runtime.unit_of_work() as uow:
            unsettled = uow.ledger.unsettled_orders()
        stops = [known for known in unsettled if known.order.trigger_price is not None]
        return len(stops) == len(unsettled) and all(known.state is OrderState.OPEN for known in stops)

    def assert_books_agree(self) -> None:
        """Orders, fills and balances of venue and ledger are the same, and one order a proposal."""
        with self.halted():
            assert comparison.look(self.runtime).differences == []
            assert self.orders_on_venue() == self._orders_in_ledger()

    def _orders_in_ledger(self) -> set[str]:
        """Client order ids that the exchange has acknowledged; no proposal has two decisions or orders."""
        with self.runtime.unit_of_work() as uow:
            trails = uow.ledger.decisions(limit=1_000_000)
        proposals = [trail.proposal.id for trail in trails]
        assert len(proposals) == len(set(proposals))
        return {
            trail.order.order.client_order_id
            for trail in trails
            if trail.order is not None and trail.order.exchange_order_id is not None
        }

    def orders_on_venue(self) -> set[str]:
        """Every order that the venue has, by its own evidence; each id once."""
        keys = bootstrap.venue_keys(self.settings)
        options = venue_options(bootstrap.venue_url(self.settings))
        client = ccxt.binance({**options, "apiKey": keys.api_key, "secret": keys.secret})
        try:
            names, first = list[str](), 1
            while page := client.fetch_orders(SYMBOL, limit=1000, params={"orderId": first}):
                names += [order["clientOrderId"] for order in page]
                first = 1 + max(int(order["id"]) for order in page)
        finally:
            client.close()
        assert len(names) == len(set(names))
        return set(names)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_that_name(text: str) -> list[psutil.Process]:
    """Living processes, other than this one, with the text on their command line."""
    return [one for one in psutil.process_iter() if text in " ".join(_command_line(one))]


def _command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline() if process.pid != os.getpid() else []
    return []
