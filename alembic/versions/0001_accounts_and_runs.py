"""Accounts, agents with their prompts, and runs."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE accounts (
    name text NOT NULL,
    trading_state varchar(32) DEFAULT 'ACTIVE' NOT NULL,
    state_reason text DEFAULT '' NOT NULL,
    state_changed_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_accounts PRIMARY KEY (name),
    CONSTRAINT ck_accounts_name CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT ck_accounts_trading_state CHECK (trading_state IN ('ACTIVE', 'REDUCING', 'HALTED'))
);

CREATE TABLE balances (
    account text NOT NULL,
    asset text NOT NULL,
    free numeric NOT NULL,
    locked numeric NOT NULL,
    opening numeric NOT NULL,
    as_of timestamptz NOT NULL,
    CONSTRAINT pk_balances PRIMARY KEY (account, asset),
    CONSTRAINT ck_balances_free CHECK (free > '-Infinity'::numeric AND free < 'Infinity'::numeric),
    CONSTRAINT ck_balances_locked
        CHECK (locked > '-Infinity'::numeric AND locked < 'Infinity'::numeric),
    CONSTRAINT ck_balances_opening
        CHECK (opening > '-Infinity'::numeric AND opening < 'Infinity'::numeric),
    CONSTRAINT fk_balances_account FOREIGN KEY (account) REFERENCES accounts (name)
);

CREATE TABLE equity (
    account text NOT NULL,
    as_of timestamptz NOT NULL,
    cash numeric NOT NULL,
    holdings numeric NOT NULL,
    CONSTRAINT pk_equity PRIMARY KEY (account, as_of),
    CONSTRAINT ck_equity_cash CHECK (cash > '-Infinity'::numeric AND cash < 'Infinity'::numeric),
    CONSTRAINT ck_equity_holdings
        CHECK (holdings > '-Infinity'::numeric AND holdings < 'Infinity'::numeric),
    CONSTRAINT fk_equity_account FOREIGN KEY (account) REFERENCES accounts (name)
);

CREATE TABLE prompts (
    name text NOT NULL,
    active_revision_id uuid,
    CONSTRAINT pk_prompts PRIMARY KEY (name),
    CONSTRAINT ck_prompts_name CHECK (length(name) BETWEEN 1 AND 200)
);

CREATE TABLE prompt_revisions (
    id uuid NOT NULL,
    prompt text NOT NULL,
    number integer NOT NULL,
    system text NOT NULL,
    template text NOT NULL,
    author text NOT NULL,
    parent_id uuid,
    sha256 text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_prompt_revisions PRIMARY KEY (id),
    CONSTRAINT uq_prompt_revisions_prompt_id UNIQUE (prompt, id),
    CONSTRAINT uq_prompt_revisions_prompt_number UNIQUE (prompt, number),
    CONSTRAINT uq_prompt_revisions_prompt_sha256 UNIQUE (prompt, sha256),
    CONSTRAINT fk_prompt_revisions_prompt_parent_id
        FOREIGN KEY (prompt, parent_id) REFERENCES prompt_revisions (prompt, id),
    CONSTRAINT ck_prompt_revisions_number CHECK (number >= 1),
    CONSTRAINT ck_prompt_revisions_author CHECK (length(author) BETWEEN 1 AND 200),
    CONSTRAINT ck_prompt_revisions_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT fk_prompt_revisions_prompt FOREIGN KEY (prompt) REFERENCES prompts (name)
);

CREATE TABLE agents (
    name text NOT NULL,
    kind text NOT NULL,
    prompt text NOT NULL,
    CONSTRAINT pk_agents PRIMARY KEY (name),
    CONSTRAINT ck_agents_name CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT ck_agents_kind CHECK (length(kind) BETWEEN 1 AND 200),
    CONSTRAINT fk_agents_prompt FOREIGN KEY (prompt) REFERENCES prompts (name)
);

CREATE TABLE runs (
    id uuid NOT NULL,
    key text NOT NULL,
    agent text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    as_of timestamptz NOT NULL,
    state varchar(32) NOT NULL,
    summary text NOT NULL,
    prompt_revision_id uuid,
    context json NOT NULL,
    fact_ids uuid[] NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    finished_at timestamptz,
    CONSTRAINT pk_runs PRIMARY KEY (id),
    CONSTRAINT ck_runs_key CHECK (length(key) BETWEEN 1 AND 200),
    CONSTRAINT ck_runs_symbol CHECK (length(symbol) BETWEEN 1 AND 200),
    CONSTRAINT ck_runs_timeframe CHECK (length(timeframe) BETWEEN 1 AND 200),
    CONSTRAINT ck_runs_state CHECK (state IN ('started', 'gated', 'held', 'proposed', 'failed')),
    CONSTRAINT ck_runs_finished CHECK ((state = 'started') = (finished_at IS NULL)),
    CONSTRAINT uq_runs_key UNIQUE (key),
    CONSTRAINT fk_runs_agent FOREIGN KEY (agent) REFERENCES agents (name),
    CONSTRAINT fk_runs_prompt_revision_id
        FOREIGN KEY (prompt_revision_id) REFERENCES prompt_revisions (id)
);
CREATE INDEX ix_runs_agent_symbol_as_of ON runs (agent, symbol, as_of);
CREATE INDEX ix_runs_as_of ON runs (as_of);
CREATE INDEX ix_runs_failed ON runs (finished_at) WHERE state = 'failed';
CREATE INDEX ix_runs_started ON runs (created_at) WHERE state = 'started';

CREATE TABLE model_calls (
    run_id uuid NOT NULL,
    attempt integer NOT NULL,
    messages json NOT NULL,
    json_schema json,
    max_tokens integer NOT NULL,
    temperature numeric NOT NULL,
    seed bigint NOT NULL,
    deadline_seconds numeric NOT NULL,
    text text NOT NULL,
    model_name text NOT NULL,
    model_backend text NOT NULL,
    model_sha256 text NOT NULL,
    model_build text NOT NULL,
    model_context_length integer NOT NULL,
    model_threads integer NOT NULL,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    elapsed_ms integer NOT NULL,
    finish_reason text NOT NULL,
    CONSTRAINT pk_model_calls PRIMARY KEY (run_id, attempt),
    CONSTRAINT ck_model_calls_attempt CHECK (attempt >= 1),
    CONSTRAINT ck_model_calls_max_tokens CHECK (max_tokens >= 1),
    CONSTRAINT ck_model_calls_temperature
        CHECK (temperature > '-Infinity'::numeric AND temperature < 'Infinity'::numeric),
    CONSTRAINT ck_model_calls_deadline_seconds
        CHECK (deadline_seconds > 0 AND deadline_seconds < 'Infinity'::numeric),
    CONSTRAINT ck_model_calls_prompt_tokens CHECK (prompt_tokens >= 0),
    CONSTRAINT ck_model_calls_completion_tokens CHECK (completion_tokens >= 0),
    CONSTRAINT ck_model_calls_elapsed_ms CHECK (elapsed_ms >= 0),
    CONSTRAINT ck_model_calls_messages CHECK (json_typeof(messages) = 'array'),
    CONSTRAINT fk_model_calls_run_id FOREIGN KEY (run_id) REFERENCES runs (id)
);

ALTER TABLE prompts ADD CONSTRAINT fk_prompts_name_active_revision_id
    FOREIGN KEY (name, active_revision_id) REFERENCES prompt_revisions (prompt, id);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE model_calls, runs, agents, prompt_revisions, prompts, equity, balances, accounts")
