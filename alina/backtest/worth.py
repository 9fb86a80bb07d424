"""The account's worth as the kernel is told of it: recorded when it asks, of all the time since it last did.

Between two of its moments nothing is bought or sold, so the highest worth and the one at the end of a day
follow from the closes alone. Found in float64, recorded exactly.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import numpy as np

from alina.backtest.equity import Prices, align, exact
from alina.backtest.runtime import World, quote_of
from alina.domain.portfolio import Equity
from alina.domain.records import ms_from_utc, utc_from_ms

_DAY_MS = 86_400_000


class WorthKeeper:
    """Records what `look` saw being held, at `record`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quote = quote_of(world.history.symbols)
        self._prices: Prices | None = None
        self._since = world.start_ms
        self._held: dict[str, Decimal] = {}
        self.look()
        self._record_now()

    def look(self) -> None:
        """What is held from now on."""
        balances = self._world.exchange.balances().values()
        self._held = {balance.asset: balance.total for balance in balances if balance.total}

    def record(self) -> None:
        """The worth now, at its highest since, and at the end of the last day before today."""
        now = ms_from_utc(self._world.exchange.now())
        if self._held.keys() - {self._quote}:
            for moment, prices in self._closes_between(self._since, now):
                self._record(moment, prices)
        self._record_now()
        self._since = now

    def _record_now(self) -> None:
        prices = {
            f"{asset}/{self._quote}": self._world.exchange.ticker(f"{asset}/{self._quote}").last
            for asset in self._held
            if f"{asset}/{self._quote}" in self._world.markets
        }
        self._record(self._world.exchange.now(), prices)

    def _record(self, moment: datetime, prices: dict[str, Decimal]) -> None:
        holdings = sum(
            (self._held[symbol.partition("/")[0]] * price for symbol, price in prices.items()), Decimal(0)
        )
        self._world.ledger.record_equity(
            Equity(
                account=self._world.runtime.account,
                as_of=moment,
                cash=self._held.get(self._quote, Decimal(0)),
                holdings=holdings,
            )
        )

    def _closes_between(self, since: int, now: int) -> Iterable[tuple[datetime, dict[str, Decimal]]]:
        """The closes in (since, now) that count: the highest worth, and the last one before today."""
        grid = self._grid()
        first, last = (int(np.searchsorted(grid.times, one, side="right")) for one in (since, now - 1))
        if first >= last:
            return
        symbols = [
            f"{asset}/{self._quote}" for asset in self._held if f"{asset}/{self._quote}" in grid.closes
        ]
        worth = sum(
            (float(self._held[s.partition("/")[0]]) * grid.closes[s][first:last] for s in symbols),
            np.zeros(last - first),
        )
        day_before = int(np.searchsorted(grid.times, now // _DAY_MS * _DAY_MS)) - 1
        for bar in sorted({first + int(worth.argmax()), day_before}):
            if first <= bar < last:
                yield (
                    utc_from_ms(int(grid.times[bar])),
                    {symbol: exact(grid.closes[symbol][bar]) for symbol in symbols},
                )

    def _grid(self) -> Prices:
        if self._prices is None:
            history = self._world.history
            self._prices = align(
                {
                    symbol: (history.closes_at(symbol), history.bars(symbol).close)
                    for symbol in history.symbols
                }
            )
        return self._prices
