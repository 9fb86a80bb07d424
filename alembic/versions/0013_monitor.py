"""A role that only reads what the metrics count."""

from alembic import op

revision = "0013"
down_revision = "0012"

_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'alina_monitor') THEN
        CREATE ROLE alina_monitor NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- somebody was faster
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role alina_monitor is missing and the owner may not make it'
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'let an administrator run: CREATE ROLE alina_monitor NOLOGIN';
END $$;
GRANT USAGE ON SCHEMA public TO alina_monitor;
"""


def upgrade() -> None:
    """Raises InsufficientPrivilege, with what to do, where the role must be made by somebody else."""
    op.execute(_ROLE)
    op.execute(
        """
        GRANT SELECT ON accounts, system_state, runs, proposals, decisions, orders, fills, positions,
            evaluations, foreign_orders, mismatches TO alina_monitor;
        GRANT SELECT (prompt_tokens, completion_tokens) ON model_calls TO alina_monitor;
        """
    )


def downgrade() -> None:
    """The role stays: other databases of the server may use it."""
    op.execute(
        """
        REVOKE ALL ON ALL TABLES IN SCHEMA public FROM alina_monitor;
        REVOKE USAGE ON SCHEMA public FROM alina_monitor;
        """
    )
