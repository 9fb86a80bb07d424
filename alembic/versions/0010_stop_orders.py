"""Stop-limit orders: a trigger price, approved and unchangeable like the others, and when it was reached."""

from alembic import op

revision = "0010"
down_revision = "0009"

_FUNCTIONS = """
CREATE OR REPLACE FUNCTION check_order_is_as_approved() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM decisions JOIN proposals ON proposals.id = decisions.proposal_id
        WHERE decisions.id = NEW.decision_id
            AND (proposals.account, proposals.symbol, proposals.side, proposals.order_type,
                 proposals.quantity, proposals.limit_price{proposed})
                IS NOT DISTINCT FROM
                (NEW.account, NEW.symbol, NEW.side, NEW.order_type, NEW.quantity, NEW.limit_price{new})
    ) THEN
        RAISE EXCEPTION 'order % is not what decision % is about', NEW.client_order_id, NEW.decision_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION check_order_moves_forward() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.client_order_id, NEW.account, NEW.decision_id, NEW.verdict, NEW.content_hash, NEW.symbol,
        NEW.side, NEW.order_type, NEW.quantity, NEW.limit_price{new}, NEW.created_at)
        IS DISTINCT FROM
       (OLD.client_order_id, OLD.account, OLD.decision_id, OLD.verdict, OLD.content_hash, OLD.symbol,
        OLD.side, OLD.order_type, OLD.quantity, OLD.limit_price{old}, OLD.created_at)
    THEN
        RAISE EXCEPTION 'order % never changes what it orders', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.state = 'rejected' AND OLD.exchange_order_id IS NULL
        AND NEW.exchange_order_id IS NOT NULL
    THEN
        RETURN NEW;
    END IF;
    IF order_rank(NEW.state) < order_rank(OLD.state)
        OR (order_rank(OLD.state) = 3 AND NEW.state <> OLD.state)
        OR NEW.filled_quantity < OLD.filled_quantity
        OR (OLD.settled AND NOT NEW.settled)
    THEN
        RAISE EXCEPTION 'order % only moves forward', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""


def upgrade() -> None:
    """No order that is there has a trigger price."""
    for table in ("proposals", "orders"):
        _allow(
            table, types="'market', 'limit', 'stop_limit'", limited="order_type IN ('limit', 'stop_limit')"
        )
        op.execute(
            f"""
            ALTER TABLE {table} ADD COLUMN trigger_price numeric,
                ADD CONSTRAINT ck_{table}_trigger_price
                    CHECK (trigger_price > 0 AND trigger_price < 'Infinity'::numeric),
                ADD CONSTRAINT ck_{table}_trigger_price_iff_stop
                    CHECK ((order_type = 'stop_limit') = (trigger_price IS NOT NULL))
            """
        )
    op.execute("ALTER TABLE orders ADD COLUMN reached_at timestamptz")
    op.execute(
        _FUNCTIONS.format(
            proposed=", proposals.trigger_price", new=", NEW.trigger_price", old=", OLD.trigger_price"
        )
    )


def downgrade() -> None:
    """A stop-limit order cannot be told any more: it counts as a limit order."""
    op.execute(_FUNCTIONS.format(proposed="", new="", old=""))
    op.execute("ALTER TABLE orders DROP COLUMN reached_at")
    for table in ("proposals", "orders"):
        op.execute(
            f"""
            ALTER TABLE {table} DROP CONSTRAINT ck_{table}_trigger_price_iff_stop;
            ALTER TABLE {table} DISABLE TRIGGER USER;  -- they never change otherwise
            UPDATE {table} SET order_type = 'limit' WHERE order_type = 'stop_limit';
            ALTER TABLE {table} ENABLE TRIGGER USER;
            ALTER TABLE {table} DROP COLUMN trigger_price;
            """  # noqa: S608
        )
        _allow(table, types="'market', 'limit'", limited="order_type = 'limit'")


def _allow(table: str, *, types: str, limited: str) -> None:
    op.execute(
        f"""
        ALTER TABLE {table} DROP CONSTRAINT ck_{table}_order_type,
            DROP CONSTRAINT ck_{table}_limit_price_iff_limit,
            ADD CONSTRAINT ck_{table}_order_type CHECK (order_type IN ({types})),
            ADD CONSTRAINT ck_{table}_limit_price_iff_limit CHECK (({limited}) = (limit_price IS NOT NULL))
        """
    )
