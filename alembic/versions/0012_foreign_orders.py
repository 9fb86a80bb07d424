"""Orders of the account that we did not place, their trades, and what reconciliation found."""

from alembic import op

revision = "0012"
down_revision = "0010"

_REASONS = "'agent', 'stop_loss', 'take_profit', 'time_limit', 'halt'"

_UP = """
CREATE TABLE foreign_orders (
    account text NOT NULL,
    symbol text NOT NULL,
    exchange_order_id text NOT NULL,
    side varchar(32) NOT NULL,
    client_order_id text,
    handling varchar(32) NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_foreign_orders PRIMARY KEY (account, symbol, exchange_order_id),
    CONSTRAINT uq_foreign_orders_exchange_order_id_account_symbol_side
        UNIQUE (exchange_order_id, account, symbol, side),
    CONSTRAINT uq_foreign_orders_handling
        UNIQUE (exchange_order_id, account, symbol, side, handling),
    CONSTRAINT ck_foreign_orders_symbol CHECK (length(symbol) BETWEEN 1 AND 200),
    CONSTRAINT ck_foreign_orders_exchange_order_id CHECK (length(exchange_order_id) BETWEEN 1 AND 200),
    CONSTRAINT ck_foreign_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_foreign_orders_handling CHECK (handling IN ('leave', 'adopt')),
    CONSTRAINT fk_foreign_orders_account FOREIGN KEY (account) REFERENCES accounts (name)
);

CREATE TABLE mismatches (
    account text NOT NULL,
    description text NOT NULL,
    first_seen_at timestamptz DEFAULT now() NOT NULL,
    last_seen_at timestamptz DEFAULT now() NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    CONSTRAINT pk_mismatches PRIMARY KEY (account, description),
    CONSTRAINT ck_mismatches_description CHECK (length(description) BETWEEN 1 AND 1000),
    CONSTRAINT ck_mismatches_times CHECK (times >= 1),
    CONSTRAINT fk_mismatches_account FOREIGN KEY (account) REFERENCES accounts (name)
);

ALTER TABLE positions
    ALTER COLUMN opened_by DROP NOT NULL,
    ADD COLUMN adopted_from text,
    ADD CONSTRAINT fk_positions_adopted_from_account_symbol_opening_side
        FOREIGN KEY (adopted_from, account, symbol, opening_side)
        REFERENCES foreign_orders (exchange_order_id, account, symbol, side),
    ADD CONSTRAINT ck_positions_opened_once CHECK (num_nonnulls(opened_by, adopted_from) = 1);

ALTER TABLE fills
    ALTER COLUMN client_order_id DROP NOT NULL,
    ALTER COLUMN position_id DROP NOT NULL,
    ADD COLUMN handling varchar(32),
    ADD CONSTRAINT fk_fills_exchange_order_id_account_symbol_side_handling
        FOREIGN KEY (exchange_order_id, account, symbol, side, handling)
        REFERENCES foreign_orders (exchange_order_id, account, symbol, side, handling),
    ADD CONSTRAINT ck_fills_ours_or_foreign CHECK ((client_order_id IS NULL) = (handling IS NOT NULL)),
    ADD CONSTRAINT ck_fills_ours_moves_a_position
        CHECK (position_id IS NOT NULL OR handling IS NOT NULL),
    ADD CONSTRAINT ck_fills_left_moves_none CHECK (position_id IS NULL OR handling <> 'leave');

GRANT SELECT ON foreign_orders, mismatches TO alina_agent, alina_executor;
GRANT INSERT ON foreign_orders, mismatches TO alina_executor;
GRANT UPDATE (last_seen_at, times) ON mismatches TO alina_executor;
"""


def upgrade() -> None:
    """Every fill and position that is there is of an order of ours."""
    op.execute(_UP)
    _allow_reasons(f"{_REASONS}, 'manual'")


def downgrade() -> None:
    """Postgres refuses it while a trade of somebody else is booked: it could not be kept."""
    op.execute(
        """
        ALTER TABLE fills DROP COLUMN handling, ALTER COLUMN position_id SET NOT NULL,
            ALTER COLUMN client_order_id SET NOT NULL;
        ALTER TABLE positions DROP COLUMN adopted_from, ALTER COLUMN opened_by SET NOT NULL;
        DROP TABLE foreign_orders, mismatches;
        UPDATE positions SET close_reason = 'agent' WHERE close_reason = 'manual';
        """
    )
    _allow_reasons(_REASONS)


def _allow_reasons(words: str) -> None:
    for table in ("proposals", "positions"):
        name = f"ck_{table}_close_reason"
        check = f"CHECK (close_reason IN ({words}))"
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {check}")
