"""A trading state of the whole system, and what a halted account still has to do."""

from alembic import op

revision = "0009"
down_revision = "0008"

_REASONS = "'agent', 'stop_loss', 'take_profit', 'time_limit'"


def upgrade() -> None:
    """Everything that is there stays ACTIVE."""
    op.execute(
        """
        CREATE TABLE system_state (
            singleton boolean DEFAULT true NOT NULL,
            trading_state varchar(32) DEFAULT 'ACTIVE' NOT NULL,
            state_reason text DEFAULT '' NOT NULL,
            state_changed_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT pk_system_state PRIMARY KEY (singleton),
            CONSTRAINT ck_system_state_singleton CHECK (singleton),
            CONSTRAINT ck_system_state_trading_state
                CHECK (trading_state IN ('ACTIVE', 'REDUCING', 'HALTED'))
        );
        INSERT INTO system_state DEFAULT VALUES;
        GRANT SELECT ON system_state TO alina_agent, alina_executor;
        GRANT UPDATE ON system_state TO alina_executor;
        CREATE TRIGGER only_the_owner_loosens BEFORE UPDATE ON system_state
            FOR EACH ROW EXECUTE FUNCTION only_the_owner_loosens();
        ALTER TABLE accounts ADD COLUMN wind_down varchar(32) DEFAULT 'none' NOT NULL,
            ADD CONSTRAINT ck_accounts_wind_down CHECK (wind_down IN ('none', 'cancel', 'flatten'));
        """
    )
    _allow_reasons(f"{_REASONS}, 'halt'")


def downgrade() -> None:
    """A position sold by a halt cannot be told any more: its exit counts as the agent's."""
    for table in ("proposals", "positions"):
        op.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")  # proposals never change otherwise
        op.execute(f"UPDATE {table} SET close_reason = 'agent' WHERE close_reason = 'halt'")  # noqa: S608
        op.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    _allow_reasons(_REASONS)
    op.execute("ALTER TABLE accounts DROP COLUMN wind_down; DROP TABLE system_state")


def _allow_reasons(words: str) -> None:
    for table in ("proposals", "positions"):
        name = f"ck_{table}_close_reason"
        check = f"CHECK (close_reason IN ({words}))"
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {check}")
