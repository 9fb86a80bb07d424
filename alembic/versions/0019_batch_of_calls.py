"""How many prompt tokens were evaluated at once: a text is the same again only in the same layout."""

from alembic import op

revision = "0019"
down_revision = "0017"


def upgrade() -> None:
    """Up to here llama.cpp was always given 64."""
    op.execute(
        """
        ALTER TABLE model_calls
            ADD COLUMN model_batch integer DEFAULT 0 NOT NULL,
            ADD CONSTRAINT ck_model_calls_model_batch CHECK (model_batch >= 0);
        UPDATE model_calls SET model_batch = 64 WHERE model_backend = 'llama_cpp';
        ALTER TABLE model_calls ALTER COLUMN model_batch DROP DEFAULT
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE model_calls DROP COLUMN model_batch")
