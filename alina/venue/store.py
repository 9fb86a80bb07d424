"""The books of the venue on disk: a SQLite journal that survives kill -9 and power loss.

WAL with synchronous=FULL: when `save` returns, the change is on the disk.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from alina.domain.market import Balance
from alina.domain.records import Record
from alina.errors import SystemStateError
from alina.venue.engine import Changes
from alina.venue.orders import Status, VenueFill, VenueOrder

_R = TypeVar("_R", bound=Record)
_VERSION = 4
_SCHEMA = f"""
BEGIN;
CREATE TABLE clock (
  id INTEGER PRIMARY KEY CHECK (id = 1), matched_ms INTEGER NOT NULL, lease_ms INTEGER NOT NULL
);
CREATE TABLE balances (asset TEXT PRIMARY KEY, free TEXT NOT NULL, locked TEXT NOT NULL);
CREATE TABLE orders (
  order_id INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
  kind TEXT NOT NULL, time_in_force TEXT NOT NULL, quantity TEXT NOT NULL, quote_quantity TEXT,
  limit_price TEXT, status TEXT NOT NULL, filled_quantity TEXT NOT NULL, filled_notional TEXT NOT NULL,
  placed_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, stop_price TEXT, working_ms INTEGER,
  fee_reserve TEXT NOT NULL DEFAULT '0', list_id INTEGER
);
CREATE INDEX orders_by_client_order_id ON orders (symbol, client_order_id);
CREATE INDEX orders_by_status ON orders (status);
CREATE INDEX orders_by_list ON orders (list_id);
CREATE TABLE fills (
  trade_id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, symbol TEXT NOT NULL,
  side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL,
  fee_asset TEXT NOT NULL, is_maker INTEGER NOT NULL, executed_ms INTEGER NOT NULL
);
CREATE INDEX fills_by_order ON fills (order_id);
CREATE INDEX fills_by_symbol ON fills (symbol, trade_id);
PRAGMA user_version = {_VERSION};
COMMIT;
"""
#: books from before there were stop orders
_FROM_VERSION_1 = """
BEGIN;
ALTER TABLE orders ADD COLUMN stop_price TEXT;
ALTER TABLE orders ADD COLUMN working_ms INTEGER;
UPDATE orders SET working_ms = placed_ms;
PRAGMA user_version = 2;
COMMIT;
"""
#: books from before fees could be paid in quote
_FROM_VERSION_2 = """
BEGIN;
ALTER TABLE orders ADD COLUMN fee_reserve TEXT NOT NULL DEFAULT '0';
PRAGMA user_version = 3;
COMMIT;
"""
#: books from before one order could end another
_FROM_VERSION_3 = """
BEGIN;
ALTER TABLE orders ADD COLUMN list_id INTEGER;
CREATE INDEX orders_by_list ON orders (list_id);
PRAGMA user_version = 4;
COMMIT;
"""
_STEPS = {
    0: _SCHEMA,
    1: _FROM_VERSION_1 + _FROM_VERSION_2 + _FROM_VERSION_3,
    2: _FROM_VERSION_2 + _FROM_VERSION_3,
    3: _FROM_VERSION_3,
}


@dataclass(frozen=True, slots=True)
class ClockRow:
    """How far the market came. Both in market ms."""

    #: resting orders were matched up to here
    matched_ms: int
    #: nobody was ever told a later time than this
    lease_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which rows of a list: from an id or a time on, else the newest. Ids and times inclusive."""

    from_id: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    limit: int = 500

    @property
    def is_newest(self) -> bool:
        return self.from_id is None and self.start_ms is None

    def conditions(self, key: str, time: str) -> dict[str, object]:
        """SQL conditions and their values, on these columns."""
        return {f"{key} >= ?": self.from_id, f"{time} >= ?": self.start_ms, f"{time} <= ?": self.end_ms}


class Store:
    """One connection of one venue. Raises sqlite3.Error where the disk does not take a change."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version in _STEPS:
                self._connection.executescript(_STEPS[version])
        except sqlite3.Error as error:
            raise SystemStateError(
                f"the venue's books {path} do not open ({error}): move the folder away"
            ) from error
        if version not in (*_STEPS, _VERSION):
            raise SystemStateError(
                f"the venue's books {path} are of version {version}, not {_VERSION}: move them away"
            )

    def close(self) -> None:
        self._connection.close()

    def begin(self, clock: ClockRow, balances: Iterable[Balance]) -> None:
        """Write the first state of a new venue."""
        self.save(clock, Changes((), (), tuple(balances)))

    def save(self, clock: ClockRow, changes: Changes | None = None) -> None:
        """Commit the time reached together with what changed."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (clock.matched_ms, clock.lease_ms)
            )
            if changes is not None:
                self._put("balances", changes.balances)
                self._put("orders", changes.orders)
                self._put("fills", changes.fills)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def clock(self) -> ClockRow | None:
        """None: the books are new."""
        row = self._connection.execute("SELECT matched_ms, lease_ms FROM clock").fetchone()
        return None if row is None else ClockRow(**row)

    def balances(self) -> list[Balance]:
        return [_record(Balance, row) for row in self._connection.execute("SELECT * FROM balances")]

    def open_orders(self) -> list[VenueOrder]:
        """Oldest first."""
        rows = self._connection.execute(
            "SELECT * FROM orders WHERE status IN (?, ?) ORDER BY order_id",
            (Status.NEW, Status.PARTIALLY_FILLED),
        )
        return [_record(VenueOrder, row) for row in rows]

    def next_ids(self) -> tuple[int, int]:
        """The next order id and the next trade id."""
        row = self._connection.execute(
            "SELECT (SELECT coalesce(max(order_id), 0) FROM orders) + 1,"
            " (SELECT coalesce(max(trade_id), 0) FROM fills) + 1"
        ).fetchone()
        return row[0], row[1]

    def order(
        self, symbol: str, *, order_id: int | None = None, client_order_id: str | None = None
    ) -> VenueOrder | None:
        """The newest order of `symbol` that has these ids."""
        conditions = {"symbol = ?": symbol, "order_id = ?": order_id, "client_order_id = ?": client_order_id}
        rows = self._select("orders", "order_id", conditions, newest=True, limit=1)
        return next((_record(VenueOrder, row) for row in rows), None)

    def order_list(self, list_id: int) -> list[VenueOrder]:
        """The orders of one list, oldest first."""
        rows = self._select("orders", "order_id", {"list_id = ?": list_id}, newest=False, limit=2)
        return [_record(VenueOrder, row) for row in rows]

    def orders(self, symbol: str, page: Page) -> list[VenueOrder]:
        """Orders of `symbol`, oldest first."""
        conditions = {"symbol = ?": symbol, **page.conditions("order_id", "placed_ms")}
        rows = self._select("orders", "order_id", conditions, newest=page.is_newest, limit=page.limit)
        return [_record(VenueOrder, row) for row in rows]

    def fills(self, symbol: str, page: Page, *, order_id: int | None = None) -> list[VenueFill]:
        """Trades of `symbol`, oldest first; of one order if it is named."""
        conditions: dict[str, object] = {"symbol = ?": symbol, "order_id = ?": order_id}
        conditions |= page.conditions("trade_id", "executed_ms")
        rows = self._select("fills", "trade_id", conditions, newest=page.is_newest, limit=page.limit)
        return [_record(VenueFill, row) for row in rows]

    def fills_since(self, symbol: str, start_ms: int) -> Iterable[VenueFill]:
        """Every trade of `symbol` from a moment on, newest first."""
        rows = self._connection.execute(
            "SELECT * FROM fills WHERE symbol = ? ORDER BY trade_id DESC", (symbol,)
        )
        fills = (_record(VenueFill, row) for row in rows)
        return takewhile(lambda fill: fill.executed_ms >= start_ms, fills)

    def _select(
        self, table: str, key: str, conditions: Mapping[str, object], *, newest: bool, limit: int
    ) -> Iterable[sqlite3.Row]:
        """Rows by `key`, where those conditions hold that have a value: the others would hide the index."""
        given = {text: value for text, value in conditions.items() if value is not None}
        query = (  # the names are this module's own
            f"SELECT * FROM (SELECT * FROM {table} WHERE {' AND '.join(given)}"  # noqa: S608
            f" ORDER BY {key} {'DESC' if newest else 'ASC'} LIMIT ?) ORDER BY {key}"
        )
        return self._connection.execute(query, (*given.values(), limit))

    def _put(self, table: str, records: Iterable[Record]) -> None:
        for record in records:
            values = [_stored(getattr(record, one.name)) for one in fields(record)]  # type: ignore[arg-type]
            marks = ", ".join("?" * len(values))
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)  # noqa: S608


def _stored(value: object) -> object:
    return str(value) if isinstance(value, Decimal | StrEnum) else value


def _record(kind: type[_R], row: sqlite3.Row) -> _R:
    hints = get_type_hints(kind)
    return kind(**{name: _loaded(hints[name], row[name]) for name in row.keys()})  # noqa: SIM118 (a Row is no mapping)


def _loaded(hint: Any, value: Any) -> Any:
    if value is None or hint in (str, int, int | None):
        return value
    return Decimal(value) if hint in (Decimal, Decimal | None) else hint(value)
