"""What the kernel counts of an approval, beside what it reserves: no sum has to look for it elsewhere."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Of the reservations that are there, everything is taken from their proposals and decisions."""
    op.execute(
        """
        ALTER TABLE reservations
            ADD COLUMN agent text,
            ADD COLUMN symbol text,
            ADD COLUMN side varchar(32),
            ADD COLUMN turnover numeric,
            ADD COLUMN decided_at timestamptz,
            ADD COLUMN created_at timestamptz;
        UPDATE reservations r
        SET agent = p.agent, symbol = p.symbol, side = p.side, decided_at = d.decided_at,
            created_at = d.created_at,
            turnover = CASE
                WHEN p.side = 'buy' THEN r.amount
                WHEN p.order_type <> 'stop_limit' THEN p.quantity * p.reference_price
            END
        FROM decisions d JOIN proposals p ON p.id = d.proposal_id
        WHERE d.id = r.decision_id;
        ALTER TABLE reservations
            ALTER COLUMN agent SET NOT NULL,
            ALTER COLUMN symbol SET NOT NULL,
            ALTER COLUMN side SET NOT NULL,
            ALTER COLUMN decided_at SET NOT NULL,
            ALTER COLUMN created_at SET NOT NULL,
            ALTER COLUMN created_at SET DEFAULT clock_timestamp(),
            ADD CONSTRAINT ck_reservations_side CHECK (side IN ('buy', 'sell')),
            ADD CONSTRAINT ck_reservations_turnover
                CHECK (turnover > 0 AND turnover < 'Infinity'::numeric);
        CREATE INDEX ix_reservations_account_decided_at ON reservations (account, decided_at);
        CREATE INDEX ix_reservations_account_created_at ON reservations (account, created_at);
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE reservations DROP COLUMN agent, DROP COLUMN symbol, DROP COLUMN side,
            DROP COLUMN turnover, DROP COLUMN decided_at, DROP COLUMN created_at
        """
    )
