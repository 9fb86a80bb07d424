"""What reconciliation does about the account's worth: every `monitoring.reconcile_interval` of market time it
is recorded, and the losses are watched.

Between two moments at which something is traded the worth follows the path of the price alone. So of these
ticks only those are visited at which the losses may call for a step back, and only those are recorded that
the kernel asks for: the newest, the highest, and the last one before today. Found in float64, with the
exact figures recorded and asked.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal

import numpy as np

from alina.backtest.equity import Series, Times
from alina.backtest.path import Path
from alina.backtest.runtime import World, quote_of
from alina.domain.portfolio import Equity, TradingState
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.orchestrator import halting

_DAY_MS = 86_400_000
#: far more than a float can be off, as a fraction of the worth: what is in doubt is visited
_DOUBT = 1e-9
Bounds = Callable[[Path, int, int], tuple[float, float]]
#: the quick ones first: mostly they tell already
_BOUNDS: tuple[Bounds, ...] = (Path.rough_bounds, Path.bounds)


class WorthKeeper:
    """Records what `look` saw being held, and watches it. Times are market ms."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quote = quote_of(world.history.symbols)
        settings = world.runtime.settings
        self._interval = max(settings.monitoring.reconcile_interval // timedelta(milliseconds=1), 1)
        self._limits = settings.risk
        self._paths: dict[str, Path] = {}
        #: the first tick that is not recorded yet
        self._next = world.start_ms
        self._cash = Decimal(0)
        #: by symbol, in base
        self._held: Mapping[str, Decimal] = {}
        self._amounts: Mapping[str, float] = {}
        #: of what is recorded: the day of the newest tick, its worth, that at the day's start, the highest
        self._day, self._newest, self._start, self._peak = -1, 0.0, 0.0, 0.0
        self._has_traded = False
        self._is_watching = True
        #: when and why the losses called for a step back; empty: they never did
        self.stepped_back = ""
        self.look()
        self.record()
        self._has_traded = False

    def look(self) -> None:
        """What is held from now on."""
        balances = self._world.exchange.balances()
        held = {
            symbol: balances[base].total
            for symbol in self._world.markets
            if (base := symbol.partition("/")[0]) in balances and balances[base].total
        }
        cash = balances[self._quote].total if self._quote in balances else Decimal(0)
        if (cash, held) != (self._cash, self._held):
            self._has_traded = True
            self._amounts = {symbol: float(amount) for symbol, amount in held.items()}
        self._cash, self._held = cash, held

    def record(self) -> None:
        """Record the ticks up to now that count."""
        self._record_until(ms_from_utc(self._world.exchange.now()))

    def next_loss(self, until: int) -> int | None:
        """The first unrecorded tick up to `until`, before which nothing is traded, to look at the losses."""
        if not self._is_watching or self._next > until:
            return None
        if self._has_traded:  # a loss may have been realised
            return self._next
        if not self._held or not self._may_lose_too_much(until):
            return None
        ticks = self._ticks(until)
        due = np.flatnonzero(self._is_too_much(ticks, self._worth(ticks)))
        if len(due):
            return int(ticks[due[0]])
        self._record_until(until)  # they are not looked at again
        return None

    def watch(self) -> None:
        """Look at the losses now, at a tick: by the running system's own code."""
        self.record()
        self._has_traded = False
        runtime = self._world.runtime
        halting.watch_losses(runtime)
        account = self._world.ledger.account(runtime.account)
        if account.trading_state is not TradingState.ACTIVE:
            self._is_watching = False
            self.stepped_back = f"{runtime.clock.now():%Y-%m-%d %H:%M}: {account.reason}"

    def _record_until(self, moment: int) -> None:
        count = (moment - self._next) // self._interval + 1
        if count < 1:
            return
        last = self._next + (count - 1) * self._interval
        for tick in sorted({last, *self._before_midnight(last), *self._highest(last)}):
            self._record(tick)
        self._next = last + self._interval

    def _record(self, tick: int) -> None:
        markets = self._world.markets
        values = (amount * markets[symbol].replay.price(tick) for symbol, amount in self._held.items())
        holdings = sum(values, Decimal(0))
        account = self._world.runtime.account
        self._world.ledger.record_equity(
            Equity(account=account, as_of=utc_from_ms(tick), cash=self._cash, holdings=holdings)
        )
        worth, day = float(self._cash + holdings), tick // _DAY_MS
        if day != self._day:
            self._start = worth if self._day < 0 else self._newest
        self._day, self._newest, self._peak = day, worth, max(self._peak, worth)

    def _before_midnight(self, last: int) -> list[int]:
        """The last unrecorded tick before the day of `last`, if there is one."""
        midnight = last // _DAY_MS * _DAY_MS
        count = (midnight - 1 - self._next) // self._interval
        return [self._next + count * self._interval] if count >= 0 else []

    def _highest(self, last: int) -> list[int]:
        """The unrecorded tick of the highest worth, if that may be the highest ever."""
        surely_less = self._peak / (1 + _DOUBT)
        if not self._held or any(self._bounds(last, of)[1] < surely_less for of in _BOUNDS):
            return []
        ticks = self._ticks(last)
        return [int(ticks[int(self._worth(ticks).argmax())])]

    def _may_lose_too_much(self, until: int) -> bool:
        """Whether even the worst path between the extremes of the candles would."""
        for of in _BOUNDS:
            low, high = self._bounds(until, of)
            peak, start = max(self._peak, high), max(self._start, self._newest, high)
            if not self._exceeds(start - low, (peak - low) / peak if peak > 0 else 0.0, peak):
                return False
        return True

    def _is_too_much(self, ticks: Times, worth: Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """At which of the ticks the day's loss or the drawdown is at its limit, shape (ticks,)."""
        days = ticks // _DAY_MS
        before = np.concatenate(([self._newest], worth[:-1]))
        is_first = np.diff(days, prepend=self._day) != 0
        #: of each tick: the place of its day's first tick, or -1: the day began before them
        place = np.maximum.accumulate(np.where(is_first, np.arange(len(ticks)), -1))
        start = np.where(place >= 0, before[place], self._start)
        peak = np.maximum.accumulate(np.maximum(worth, self._peak))
        return self._exceeds(start - worth, (peak - worth) / peak, peak)

    def _exceeds(
        self, lost: Series | float, drawdown: Series | float, peak: Series | float
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        day, most = self._limits.max_daily_loss, self._limits.max_drawdown
        is_loss = lost >= (float(day) if day is not None else np.inf) - _DOUBT * peak
        return np.asarray(is_loss | (drawdown >= (float(most) if most is not None else np.inf) - _DOUBT))

    def _bounds(self, until: int, of: Bounds) -> tuple[float, float]:
        """Between which the worth stays from the first unrecorded tick to the last one."""
        last = until - (until - self._next) % self._interval
        low = high = float(self._cash)
        for symbol, amount in self._amounts.items():
            least, most = of(self._path(symbol), self._next, last)
            low, high = low + amount * least, high + amount * most
        return low, high

    def _ticks(self, until: int) -> Times:
        return np.arange(self._next, until + 1, self._interval)

    def _worth(self, ticks: Times) -> Series:
        worth = np.full(len(ticks), float(self._cash))
        for symbol, amount in self._amounts.items():
            worth += amount * self._path(symbol).prices(ticks)
        return worth

    def _path(self, symbol: str) -> Path:
        if symbol not in self._paths:
            tick_size = self._world.markets[symbol].rules.tick_size
            self._paths[symbol] = Path(self._world.history.series(symbol), tick_size)
        return self._paths[symbol]
