"""When a reservation ended: what did so since the balances were asked for still counts against them."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Those that have ended already did so before anything is asked for from now on."""
    op.execute(
        """
        ALTER TABLE reservations ADD COLUMN ended_at timestamptz;
        UPDATE reservations SET ended_at = created_at WHERE state <> 'held';
        ALTER TABLE reservations ADD CONSTRAINT ck_reservations_ended_iff_not_held
            CHECK ((state <> 'held') = (ended_at IS NOT NULL));
        CREATE INDEX ix_reservations_ended ON reservations (account, ended_at) WHERE ended_at IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE reservations DROP COLUMN ended_at")
