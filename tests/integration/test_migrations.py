"""The schema that the migrations make is the schema that the tables declare."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from celery.backends.database.models import ResultModelBase
from sqlalchemy import Connection, Engine, NullPool, TextClause, inspect, text

from alina import bootstrap
from alina.config import Settings
from alina.db import migrations
from alina.db.engine import make_engine
from alina.db.tables import Base
from alina.errors import DatabaseUnavailable

_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 ORDER BY 1, 2
"""
_COLUMNS = """
    SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
           pg_get_expr(adbin, adrelid)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid::regclass::text, attnum
"""
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def engine(database_url: str) -> Engine:
    return make_engine(database_url, poolclass=NullPool)


def test_the_schema_goes_up_and_down_and_up_again(database_url: str, engine: Engine) -> None:
    assert not migrations.is_current(database_url)
    migrations.upgrade(database_url)
    assert migrations.is_current(database_url)

    migrations.downgrade(database_url, "base")
    assert not migrations.is_current(database_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_sequence_names() == []

    migrations.upgrade(database_url)
    assert migrations.is_current(database_url)


def test_autogenerate_finds_nothing_to_change(database_url: str, engine: Engine) -> None:
    migrations.upgrade(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, [Base.metadata, ResultModelBase.metadata]) == []


def test_the_migrations_make_every_check_key_and_index_that_the_tables_declare(
    database_url: str, engine: Engine
) -> None:
    migrations.upgrade(database_url)
    with engine.begin() as connection:
        migrated = _catalogue(connection)
    migrations.downgrade(database_url, "base")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        Base.metadata.create_all(connection)
        ResultModelBase.metadata.create_all(connection)
        declared = _catalogue(connection)
    assert migrated == declared


def test_of_two_exchanges_candles_the_venue_s_stay_where_they_cannot_be_told_apart(
    database_url: str, engine: Engine
) -> None:
    migrations.upgrade(database_url)
    insert = text(
        "INSERT INTO candles (exchange, symbol, timeframe, open_time, open, high, low, close, volume) "
        "VALUES (:exchange, 'BTC/USDT', '1h', '2024-01-01Z', :price, :price, :price, :price, 1)"
    )
    with engine.begin() as connection:
        for exchange, price in (("binance", 1), ("venue", 2), ("kraken", 3)):
            connection.execute(insert, {"exchange": exchange, "price": price})
    migrations.downgrade(database_url, "0018")
    assert _scalar(engine, text("SELECT sum(close) FROM candles")) == 2
    migrations.upgrade(database_url)
    assert _scalar(engine, text("SELECT count(*) FROM candles WHERE exchange = 'venue'")) == 1


def test_two_processes_that_migrate_at_once_both_succeed(database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrations.upgrade, [database_url, database_url]))
    assert migrations.is_current(database_url)


def test_an_unreachable_server_is_named_with_its_remedy() -> None:
    with pytest.raises(DatabaseUnavailable, match="ALINA_DATABASE_URL"):
        migrations.upgrade("postgresql://alina@127.0.0.1:1/alina")


def _catalogue(connection: Connection) -> list[list[tuple[object, ...]]]:
    """Columns, constraints and indexes as Postgres itself writes them, alembic's own table aside."""
    found = [connection.execute(text(query)).all() for query in (_COLUMNS, _CONSTRAINTS, _INDEXES)]
    return [[tuple(row) for row in rows if "alembic_version" not in row[0]] for rows in found]


def test_what_is_prepared_once_leaves_no_connection_open(database_url: str, engine: Engine) -> None:
    migrations.upgrade(database_url)

    bootstrap.prepare_ledger(Settings(), database_url=database_url)

    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 200
    while _scalar(engine, others):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _scalar(engine: Engine, statement: TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(statement) or 0)
