"""The registry of models. Agents read which one is active; only the owner says so."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE models (
            id uuid NOT NULL,
            name text NOT NULL,
            version integer NOT NULL,
            source text NOT NULL,
            sha256 text,
            size_bytes bigint,
            quantisation text,
            template text,
            context_length integer,
            licence text,
            state varchar(32) NOT NULL,
            parent_id uuid,
            measured_at timestamptz,
            answers integer,
            tokens_per_second numeric,
            latency_p50_ms integer,
            latency_p99_ms integer,
            valid_fraction numeric,
            cost_per_answer numeric,
            added_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT pk_models PRIMARY KEY (id),
            CONSTRAINT uq_models_name_version UNIQUE (name, version),
            CONSTRAINT fk_models_parent_id FOREIGN KEY (parent_id) REFERENCES models (id),
            CONSTRAINT ck_models_name CHECK (length(name) BETWEEN 1 AND 200),
            CONSTRAINT ck_models_version CHECK (version >= 1),
            CONSTRAINT ck_models_source CHECK (length(source) > 0),
            CONSTRAINT ck_models_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
            CONSTRAINT ck_models_size_bytes CHECK (size_bytes > 0 AND size_bytes < 'Infinity'::numeric),
            CONSTRAINT ck_models_context_length
                CHECK (context_length > 0 AND context_length < 'Infinity'::numeric),
            CONSTRAINT ck_models_state CHECK (state IN ('candidate', 'active', 'retired')),
            CONSTRAINT ck_models_measured CHECK (num_nulls(measured_at, answers, tokens_per_second,
                latency_p50_ms, latency_p99_ms, valid_fraction) IN (0, 6)),
            CONSTRAINT ck_models_answers CHECK (answers >= 1),
            CONSTRAINT ck_models_tokens_per_second
                CHECK (tokens_per_second >= 0 AND tokens_per_second < 'Infinity'::numeric),
            CONSTRAINT ck_models_latency_p50_ms CHECK (latency_p50_ms >= 0),
            CONSTRAINT ck_models_latency_p99_ms CHECK (latency_p99_ms >= 0),
            CONSTRAINT ck_models_valid_fraction CHECK (valid_fraction BETWEEN 0 AND 1),
            CONSTRAINT ck_models_cost_per_answer
                CHECK (cost_per_answer >= 0 AND cost_per_answer < 'Infinity'::numeric)
        );
        CREATE UNIQUE INDEX ix_models_active ON models (state) WHERE state = 'active';
        GRANT SELECT ON models TO alina_agent;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE models")
