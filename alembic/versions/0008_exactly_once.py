"""Counted attempts, orders that turn up after all, and the price of a fee in a third asset."""

from alembic import op

revision = "0008"
down_revision = "0007"

_FUNCTION = """
CREATE OR REPLACE FUNCTION check_order_moves_forward() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.client_order_id, NEW.account, NEW.decision_id, NEW.verdict, NEW.content_hash, NEW.symbol,
        NEW.side, NEW.order_type, NEW.quantity, NEW.limit_price, NEW.created_at)
        IS DISTINCT FROM
       (OLD.client_order_id, OLD.account, OLD.decision_id, OLD.verdict, OLD.content_hash, OLD.symbol,
        OLD.side, OLD.order_type, OLD.quantity, OLD.limit_price, OLD.created_at)
    THEN
        RAISE EXCEPTION 'order % never changes what it orders', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    {exception}IF order_rank(NEW.state) < order_rank(OLD.state)
        OR (order_rank(OLD.state) = 3 AND NEW.state <> OLD.state)
        OR NEW.filled_quantity < OLD.filled_quantity
        OR (OLD.settled AND NOT NEW.settled)
    THEN
        RAISE EXCEPTION 'order % only moves forward', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""

# What we gave up but the exchange has. It never named it before, so nothing of it is known here.
_TURNED_UP = """IF OLD.state = 'rejected' AND OLD.exchange_order_id IS NULL
        AND NEW.exchange_order_id IS NOT NULL
    THEN
        RETURN NEW;
    END IF;
    """


def upgrade() -> None:
    """Every order that is there was sent once."""
    op.execute(
        """
        ALTER TABLE orders ADD COLUMN attempts integer DEFAULT 1 NOT NULL,
            ADD CONSTRAINT ck_orders_attempts CHECK (attempts BETWEEN 1 AND 4);
        ALTER TABLE fills ADD COLUMN fee_rate numeric,
            ADD CONSTRAINT ck_fills_fee_rate CHECK (fee_rate > 0 AND fee_rate < 'Infinity'::numeric);
        """
    )
    op.execute(_FUNCTION.format(exception=_TURNED_UP))


def downgrade() -> None:
    """What a fee in a third asset cost stays in its position."""
    op.execute(_FUNCTION.format(exception=""))
    op.execute("ALTER TABLE fills DROP COLUMN fee_rate; ALTER TABLE orders DROP COLUMN attempts")
