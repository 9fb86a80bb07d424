"""A million candles in and out, beside a bare COPY of the same rows on the same Postgres."""

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.exchange.candle_bulk import CandleBulk
from alina.exchange.candle_import import import_candles
from alina.exchange.candle_store import LOCAL
from alina.market_data.arrays import FIGURES
from alina.market_data.files import TIME, read_candles, write_parquet

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
CANDLES = 1_000_000
ROUNDS = 5
SYMBOL = "BTC/USDT"
START = datetime(2020, 1, 1, tzinfo=UTC)
END = START + CANDLES * timedelta(minutes=1)
BARE = """
    CREATE TABLE bare (symbol text DEFAULT 'BTC/USDT', timeframe text DEFAULT '1m', open_ms bigint,
        open numeric, high numeric, low numeric, close numeric, volume numeric)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="alina-bench-"))
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Engine]:
    """A server as `alina up` starts it: it waits for the disk."""
    server = EmbeddedPostgres(DataFolder(home / "data"))
    url = server.start()
    migrations.upgrade(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()
    server.stop()


def write_minutes(path: Path) -> None:
    """A random walk with two decimals and volumes of six, as exchanges have them."""
    random = np.random.default_rng(1)
    closes = 30_000 + np.cumsum(random.normal(0, 1, CANDLES))
    volumes = random.random(CANDLES) * 50
    first = int(START.timestamp() * 1000)
    with path.open("w") as file:
        file.write(",".join((TIME, *FIGURES)) + "\n")
        for minute, (close, volume) in enumerate(zip(closes, volumes, strict=True)):
            prices = f"{close:.2f},{close + 9:.2f},{close - 9:.2f},{close:.2f}"
            file.write(f"{first + minute * 60_000},{prices},{volume:.6f}\n")


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_a_million_candles_in_and_out(home: Path, engine: Engine) -> None:
    write_minutes(home / "BTC_USDT-1m.csv")
    write_parquet(read_candles(home / "BTC_USDT-1m.csv").arrays, home / "BTC_USDT-1m.parquet")
    bare_in, bare_out = _bare(engine, home / "BTC_USDT-1m.csv")
    table = Table("", "seconds", "bare COPY", "ratio", title=f"{CANDLES:,} candles")
    figures: dict[str, tuple[float, float]] = {
        "import of CSV into an empty store": (_import(engine, home / "BTC_USDT-1m.csv"), bare_in),
        "the same again from parquet: nothing changes": (
            _import(engine, home / "BTC_USDT-1m.parquet"),
            bare_in,
        ),
        "read back as arrays, the median of five": (_load(engine), bare_out),
    }
    for name, (ours, bare) in figures.items():
        table.add_row(name, f"{ours:.2f}", f"{bare:.2f}", f"{ours / bare:.1f}")
    Console(width=100).print(table)


def _bare(engine: Engine, path: Path) -> tuple[float, float]:
    """COPY in, to a table without key or checks, and binary COPY out of it."""
    connection = engine.raw_connection()
    try:
        with connection.cursor() as cursor, path.open("rb") as file:
            cursor.execute(BARE)
            into = f"COPY bare ({', '.join(('open_ms', *FIGURES))}) FROM STDIN (FORMAT csv, HEADER)"
            went_in = seconds(lambda: (cursor.copy_expert(into, file), connection.commit()))
            out = "COPY bare TO STDOUT (FORMAT binary)"
            came_out = [seconds(lambda: cursor.copy_expert(out, io.BytesIO())) for _ in range(ROUNDS)]
            cursor.execute("DROP TABLE bare")
            connection.commit()
    finally:
        connection.close()
    return went_in, sorted(came_out)[ROUNDS // 2]


@contextmanager
def _bulk(engine: Engine) -> Iterator[CandleBulk]:
    with transaction(session_factory(engine)) as session:
        yield CandleBulk(session, LOCAL)


def _import(engine: Engine, path: Path) -> float:
    return seconds(
        lambda: import_candles(
            read_candles(path), partial(_bulk, engine), now=datetime.now(UTC), stored=lambda _: None
        )
    )


def _load(engine: Engine) -> float:
    taken = []
    for _ in range(ROUNDS):
        with _bulk(engine) as bulk:
            began = time.perf_counter()
            candles = bulk.load(SYMBOL, "1m", since=START, until=END)
            taken.append(time.perf_counter() - began)
        assert len(candles) == CANDLES
    return sorted(taken)[ROUNDS // 2]
