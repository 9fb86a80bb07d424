"""Scores of closed trades, and experiments."""

from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = """
CREATE TABLE evaluations (
    position_id uuid NOT NULL,
    run_id uuid,
    score numeric NOT NULL,
    pnl numeric NOT NULL,
    return_fraction numeric NOT NULL,
    explanation text NOT NULL,
    evaluated_at timestamptz NOT NULL,
    CONSTRAINT pk_evaluations PRIMARY KEY (position_id),
    CONSTRAINT ck_evaluations_score CHECK (score BETWEEN 0 AND 1),
    CONSTRAINT ck_evaluations_pnl CHECK (pnl > '-Infinity'::numeric AND pnl < 'Infinity'::numeric),
    CONSTRAINT ck_evaluations_return_fraction
        CHECK (return_fraction > '-Infinity'::numeric AND return_fraction < 'Infinity'::numeric),
    CONSTRAINT fk_evaluations_position_id FOREIGN KEY (position_id) REFERENCES positions (id),
    CONSTRAINT fk_evaluations_run_id FOREIGN KEY (run_id) REFERENCES runs (id)
);
CREATE INDEX ix_evaluations_evaluated_at ON evaluations (evaluated_at);

CREATE TABLE experiments (
    id uuid NOT NULL,
    key text NOT NULL,
    prompt text NOT NULL,
    champion_id uuid NOT NULL,
    challenger_id uuid NOT NULL,
    state varchar(32) NOT NULL,
    split_at timestamptz NOT NULL,
    cases integer NOT NULL,
    champion_score numeric,
    challenger_score numeric,
    confidence numeric,
    conclusion text NOT NULL,
    claimed_until timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_experiments PRIMARY KEY (id),
    CONSTRAINT fk_experiments_prompt_champion_id
        FOREIGN KEY (prompt, champion_id) REFERENCES prompt_revisions (prompt, id),
    CONSTRAINT fk_experiments_prompt_challenger_id
        FOREIGN KEY (prompt, challenger_id) REFERENCES prompt_revisions (prompt, id),
    CONSTRAINT ck_experiments_key CHECK (length(key) BETWEEN 1 AND 200),
    CONSTRAINT ck_experiments_state CHECK (state IN ('running', 'promoted', 'rejected')),
    CONSTRAINT ck_experiments_cases CHECK (cases >= 0),
    CONSTRAINT ck_experiments_champion_score
        CHECK (champion_score > '-Infinity'::numeric AND champion_score < 'Infinity'::numeric),
    CONSTRAINT ck_experiments_challenger_score
        CHECK (challenger_score > '-Infinity'::numeric AND challenger_score < 'Infinity'::numeric),
    CONSTRAINT ck_experiments_confidence CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT uq_experiments_key UNIQUE (key)
);
CREATE INDEX ix_experiments_created_at ON experiments (created_at);

CREATE TABLE experiment_cases (
    experiment_id uuid NOT NULL,
    run_id uuid NOT NULL,
    part varchar(32) NOT NULL,
    champion_score numeric NOT NULL,
    challenger_score numeric,
    CONSTRAINT pk_experiment_cases PRIMARY KEY (experiment_id, run_id),
    CONSTRAINT ck_experiment_cases_part CHECK (part IN ('tune', 'held_out')),
    CONSTRAINT ck_experiment_cases_champion_score
        CHECK (champion_score > '-Infinity'::numeric AND champion_score < 'Infinity'::numeric),
    CONSTRAINT ck_experiment_cases_challenger_score
        CHECK (challenger_score > '-Infinity'::numeric AND challenger_score < 'Infinity'::numeric),
    CONSTRAINT fk_experiment_cases_experiment_id
        FOREIGN KEY (experiment_id) REFERENCES experiments (id),
    CONSTRAINT fk_experiment_cases_run_id FOREIGN KEY (run_id) REFERENCES runs (id)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE experiment_cases, experiments, evaluations")
