"""Proposals that can be read: times that Python can hold, a symbol of two assets."""

from alembic import op

revision = "0025"
down_revision = "0024"

_TIMES = ("close_after", "as_of", "expires_at", "created_at")


def upgrade() -> None:
    """Fails where a proposal is stored that the executor could never read: delete it first."""
    readable = ", ".join(
        f"ADD CONSTRAINT ck_proposals_{column} CHECK ({column} BETWEEN '1970-01-01Z' AND '9999-12-31Z')"
        for column in _TIMES
    )
    two_assets = "ADD CONSTRAINT ck_proposals_symbol_of_two_assets CHECK (symbol ~ '^[^/]+/[^/]+$')"
    op.execute(f"ALTER TABLE proposals {readable}, {two_assets}")


def downgrade() -> None:
    for name in (*_TIMES, "symbol_of_two_assets"):
        op.execute(f"ALTER TABLE proposals DROP CONSTRAINT ck_proposals_{name}")
