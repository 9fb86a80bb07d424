"""Reservations are found by time, then by account: of an index that begins with the account the planner,
while a young table has no statistics, reads every row of the account in place of those of a minute."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        """
        DROP INDEX ix_reservations_account_decided_at, ix_reservations_account_created_at,
            ix_reservations_ended;
        CREATE INDEX ix_reservations_decided_at_account ON reservations (decided_at, account);
        CREATE INDEX ix_reservations_created_at_account ON reservations (created_at, account);
        CREATE INDEX ix_reservations_ended ON reservations (ended_at, account) WHERE ended_at IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX ix_reservations_decided_at_account, ix_reservations_created_at_account,
            ix_reservations_ended;
        CREATE INDEX ix_reservations_account_decided_at ON reservations (account, decided_at);
        CREATE INDEX ix_reservations_account_created_at ON reservations (account, created_at);
        CREATE INDEX ix_reservations_ended ON reservations (account, ended_at) WHERE ended_at IS NOT NULL;
        """
    )
