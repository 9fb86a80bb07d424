"""What models took: reserved before each call, settled after it."""

from alembic import op

revision = "0018"
down_revision = "0019"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE model_spending (
            id uuid NOT NULL,
            run_id uuid,
            agent text NOT NULL,
            model text NOT NULL,
            day date NOT NULL,
            is_settled boolean NOT NULL,
            tokens bigint NOT NULL,
            calls integer NOT NULL,
            seconds numeric NOT NULL,
            money numeric NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT pk_model_spending PRIMARY KEY (id),
            CONSTRAINT ck_model_spending_agent CHECK (length(agent) BETWEEN 1 AND 200),
            CONSTRAINT ck_model_spending_model CHECK (length(model) BETWEEN 1 AND 200),
            CONSTRAINT ck_model_spending_tokens CHECK (tokens >= 0),
            CONSTRAINT ck_model_spending_calls CHECK (calls >= 0),
            CONSTRAINT ck_model_spending_seconds CHECK (seconds >= 0 AND seconds < 'Infinity'::numeric),
            CONSTRAINT ck_model_spending_money CHECK (money >= 0 AND money < 'Infinity'::numeric)
        );
        CREATE INDEX ix_model_spending_day ON model_spending (day);
        CREATE INDEX ix_model_spending_run_id ON model_spending (run_id);
        GRANT SELECT, INSERT ON model_spending TO alina_agent;
        GRANT UPDATE (is_settled, tokens, calls, seconds, money) ON model_spending TO alina_agent;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE model_spending")
