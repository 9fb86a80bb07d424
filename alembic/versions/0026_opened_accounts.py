"""When an account was opened: what was traded before is in its opening balances."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """When those that are there were opened is not known: every trade of theirs goes on being compared."""
    op.execute("ALTER TABLE accounts ADD COLUMN opened_at timestamptz")


def downgrade() -> None:
    """What was traded before is a difference again."""
    op.execute("ALTER TABLE accounts DROP COLUMN opened_at")
