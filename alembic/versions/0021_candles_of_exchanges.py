"""Whose candles they are: those of two exchanges for one symbol are two series.

What is stored before counts as the venue's, on which most systems trade; a live exchange is asked again.
"""

from alembic import op

revision = "0021"
down_revision = "0018"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE candles ADD COLUMN exchange text DEFAULT 'venue' NOT NULL;
        ALTER TABLE candles ALTER COLUMN exchange DROP DEFAULT,
            ADD CONSTRAINT ck_candles_exchange CHECK (length(exchange) BETWEEN 1 AND 200),
            DROP CONSTRAINT pk_candles,
            ADD CONSTRAINT pk_candles PRIMARY KEY (exchange, symbol, timeframe, open_time);
        """
    )


def downgrade() -> None:
    """Of the candles of several exchanges for one moment the venue's stay, or the first by name."""
    op.execute(
        """
        DELETE FROM candles one USING candles other
            WHERE (one.symbol, one.timeframe, one.open_time) =
                  (other.symbol, other.timeframe, other.open_time)
            AND (one.exchange <> 'venue', one.exchange) > (other.exchange <> 'venue', other.exchange);
        ALTER TABLE candles DROP CONSTRAINT pk_candles,
            ADD CONSTRAINT pk_candles PRIMARY KEY (symbol, timeframe, open_time);
        ALTER TABLE candles DROP COLUMN exchange;
        """
    )
