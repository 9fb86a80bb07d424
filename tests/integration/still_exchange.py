"""An exchange whose market stands still and answers at once: for what is about the kernel and the ledger."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

from alina import bootstrap
from alina.config import Settings
from alina.domain.market import Balance, Balances, BookLevel, Market, OrderBook, Ticker
from alina.domain.portfolio import Equity
from alina.domain.ports import Exchange
from alina.exchange.candle_store import LOCAL
from alina.llm.scripted import ScriptedModel
from alina.orchestrator.runtime import Runtime, UnitOfWork

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StillExchange(Exchange):
    """Every symbol at 100, a deep book, and a balance that no order moves."""

    def __init__(self, quote: str = "1000000") -> None:
        self.now = NOW
        #: assets of which there is enough to sell
        self.bases: tuple[str, ...] = ()
        self._quote = Decimal(quote)

    def market(self, symbol: str) -> Market:
        base, quote = symbol.split("/")
        return Market(
            symbol=symbol,
            base=base,
            quote=quote,
            tick_size=Decimal("0.01"),
            lot_size=Decimal("0.001"),
            min_quantity=Decimal("0.001"),
            max_quantity=None,
            min_notional=Decimal(5),
            maker_fee=Decimal("0.001"),
            taker_fee=Decimal("0.001"),
        )

    def ticker(self, symbol: str) -> Ticker:
        return Ticker(
            symbol=symbol, bid=Decimal("99.99"), ask=Decimal(100), last=Decimal(100), as_of=self.now
        )

    def order_book(self, symbol: str, *, depth: int) -> OrderBook:
        ticker, many = self.ticker(symbol), Decimal(10_000)
        return OrderBook(
            symbol=symbol,
            bids=(BookLevel(ticker.bid, many),),
            asks=(BookLevel(ticker.ask, many),),
            as_of=self.now,
        )

    def balances(self) -> Balances:
        amounts = {"USDT": self._quote, **dict.fromkeys(self.bases, Decimal(1000))}
        return {asset: Balance(asset=asset, free=free, locked=Decimal(0)) for asset, free in amounts.items()}

    def has_stop_orders(self, symbol: str) -> bool:
        return False

    def clock_difference_ms(self) -> int:
        return 0


class StillClock:
    """The exchange's time, which a test sets."""

    def __init__(self, exchange: StillExchange) -> None:
        self._exchange = exchange

    def now(self) -> datetime:
        return self._exchange.now


def listing(symbols: Sequence[str]) -> dict[str, object]:
    """The settings' market with so many symbols, none of which the venue has."""
    return {"symbols": tuple(symbols), "exchange": {"mode": "live"}}


@cache
def _units_of_work(database_url: str) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    """One engine a database, however many runtimes: each would keep connections until it is collected."""
    return bootstrap.make_unit_of_work(database_url, LOCAL)


def still_runtime(settings: Settings, database_url: str, exchange: StillExchange) -> Runtime:
    """A runtime on it, its account and agent prepared; what it sends is dropped."""
    runtime = bootstrap.make_runtime(
        settings,
        database_url=database_url,
        send=lambda *_: None,
        exchange=exchange,
        clock=StillClock(exchange),
        model=lambda: ScriptedModel("none", b'{"text": "hold"}', context_length=2048, threads=1),
    )
    bootstrap.prepare_ledger(settings, database_url=database_url)
    return replace(runtime, unit_of_work=_units_of_work(database_url))


def record_worth(runtime: Runtime, worth: Decimal) -> None:
    """What its account is worth at the market's time."""
    equity = Equity(account=runtime.account, as_of=runtime.clock.now(), cash=worth, holdings=Decimal(0))
    with runtime.unit_of_work() as uow:
        uow.ledger.record_equity(equity)
