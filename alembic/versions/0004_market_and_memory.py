"""Candles, and facts with their embeddings."""

from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE candles (
    symbol text NOT NULL,
    timeframe text NOT NULL,
    open_time timestamptz NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    CONSTRAINT pk_candles PRIMARY KEY (symbol, timeframe, open_time),
    CONSTRAINT ck_candles_symbol CHECK (length(symbol) BETWEEN 1 AND 200),
    CONSTRAINT ck_candles_timeframe CHECK (length(timeframe) BETWEEN 1 AND 200),
    CONSTRAINT ck_candles_low CHECK (low > 0 AND low < 'Infinity'::numeric),
    CONSTRAINT ck_candles_high CHECK (high > 0 AND high < 'Infinity'::numeric),
    CONSTRAINT ck_candles_low_is_lowest CHECK (low <= LEAST(open, close)),
    CONSTRAINT ck_candles_high_is_highest CHECK (high >= GREATEST(open, close)),
    CONSTRAINT ck_candles_volume CHECK (volume >= 0 AND volume < 'Infinity'::numeric)
);

CREATE TABLE facts (
    id uuid NOT NULL,
    subject text NOT NULL,
    predicate text NOT NULL,
    text text NOT NULL,
    embedding vector(256),
    valid_at timestamptz NOT NULL,
    invalid_at timestamptz,
    created_at timestamptz NOT NULL,
    expired_at timestamptz,
    source_id uuid,
    CONSTRAINT pk_facts PRIMARY KEY (id),
    CONSTRAINT ck_facts_subject CHECK (length(subject) BETWEEN 1 AND 200),
    CONSTRAINT ck_facts_predicate CHECK (length(predicate) BETWEEN 1 AND 200),
    CONSTRAINT ck_facts_validity CHECK (invalid_at >= valid_at),
    CONSTRAINT ck_facts_knowledge CHECK (expired_at >= created_at)
);
CREATE INDEX ix_facts_expired_at ON facts (expired_at);
CREATE INDEX ix_facts_subject_valid_at ON facts (subject, valid_at);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE facts, candles")
