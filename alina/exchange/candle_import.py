"""Brings a file of candles into the store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

import numpy as np

from alina.domain.records import ms_from_utc
from alina.errors import DataError
from alina.exchange.candle_bulk import CandleBulk
from alina.market_data.faults import REFUSED, faults
from alina.market_data.files import CandleFile

#: candles of one transaction
_BATCH = 100_000


def import_candles(
    file: CandleFile,
    store: Callable[[], AbstractContextManager[CandleBulk]],
    *,
    now: datetime,
    stored: Callable[[int], None],
) -> int:
    """Store what had closed at `now`, batch by batch, each in a transaction of its own. Safe to repeat.

    `stored` hears how many candles have been. Returns how many are new or differ. Raises DataError,
    before anything is stored, for candles that no store takes.
    """
    _refuse(file)
    candles = file.arrays
    closed = int(np.searchsorted(candles.open_time, ms_from_utc(now) - candles.interval_ms, side="right"))
    changed = 0
    for start in range(0, closed, _BATCH):
        stop = min(start + _BATCH, closed)
        with store() as bulk:
            changed += bulk.save(candles.symbol, candles.timeframe, file.csv(start, stop))
        stored(stop)
    return changed


def _refuse(file: CandleFile) -> None:
    for fault in faults(file.arrays):
        if fault.kind in REFUSED:
            raise DataError(
                f"{file.path}: {fault.count} candles {_IN_WORDS[fault.kind]}, the first at "
                f"{fault.first:%Y-%m-%d %H:%M} UTC; correct or remove them (`alina data check {file.path}`), "
                f"or name another --timeframe than {file.arrays.timeframe}"
            )


_IN_WORDS = {
    "duplicate": "are there twice",
    "off the grid": "begin at no whole multiple of the timeframe",
    "impossible": "cannot be true",
}
