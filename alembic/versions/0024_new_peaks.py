"""When an equity was recorded, and from which one on a person lets drawdown and the day's loss count."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """When the equities that are there were recorded is not known: entries wait for the next one."""
    op.execute(
        """
        CREATE TABLE new_peaks (
            account text NOT NULL,
            number integer NOT NULL,
            reason text NOT NULL,
            begun_by text NOT NULL,
            begun_at timestamptz DEFAULT clock_timestamp() NOT NULL,
            CONSTRAINT pk_new_peaks PRIMARY KEY (account, number),
            CONSTRAINT fk_new_peaks_account FOREIGN KEY (account) REFERENCES accounts (name),
            CONSTRAINT ck_new_peaks_number CHECK (number >= 1),
            CONSTRAINT ck_new_peaks_reason CHECK (length(reason) BETWEEN 1 AND 1000),
            CONSTRAINT ck_new_peaks_begun_by CHECK (length(begun_by) BETWEEN 1 AND 200)
        );
        CREATE TRIGGER new_peaks_never_change BEFORE UPDATE ON new_peaks
            FOR EACH ROW EXECUTE FUNCTION refuse_change();
        GRANT SELECT ON new_peaks TO alina_executor;
        ALTER TABLE equity ADD COLUMN peak_number integer DEFAULT 0 NOT NULL,
            ADD COLUMN recorded_at timestamptz DEFAULT 'epoch' NOT NULL,
            ADD CONSTRAINT ck_equity_peak_number CHECK (peak_number >= 0);
        ALTER TABLE equity ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
        DROP INDEX ix_equity_account_total;
        CREATE INDEX ix_equity_account_total ON equity (account, peak_number, (cash + holdings));
        ALTER TABLE equity DROP CONSTRAINT pk_equity,
            ADD CONSTRAINT pk_equity PRIMARY KEY (account, peak_number, as_of);
        """
    )


def downgrade() -> None:
    """Every equity counts again: a peak that was left behind comes back."""
    op.execute(
        """
        DELETE FROM equity older USING equity newer
            WHERE newer.account = older.account AND newer.as_of = older.as_of
            AND newer.peak_number > older.peak_number;
        ALTER TABLE equity DROP COLUMN peak_number, DROP COLUMN recorded_at,
            ADD CONSTRAINT pk_equity PRIMARY KEY (account, as_of);
        CREATE INDEX ix_equity_account_total ON equity (account, (cash + holdings));
        DROP TABLE new_peaks;
        """
    )
