"""No index that nobody searches: the kernel counts by the reservations, and each one costs every decision."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("DROP INDEX ix_decisions_decided_at")


def downgrade() -> None:
    op.execute("CREATE INDEX ix_decisions_decided_at ON decisions (decided_at)")
