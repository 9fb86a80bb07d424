"""Where Celery's database backend keeps results: the tables and sequences its own models name."""

from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = """
CREATE SEQUENCE task_id_sequence;
CREATE TABLE celery_taskmeta (
    id integer NOT NULL,
    task_id varchar(155),
    status varchar(50),
    result bytea,
    date_done timestamp,
    traceback text,
    children bytea,
    name varchar(155),
    args bytea,
    kwargs bytea,
    worker varchar(155),
    retries integer,
    queue varchar(155),
    stamps bytea,
    PRIMARY KEY (id),
    UNIQUE (task_id)
);
CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done);

CREATE SEQUENCE taskset_id_sequence;
CREATE TABLE celery_tasksetmeta (
    id integer NOT NULL,
    taskset_id varchar(155),
    result bytea,
    date_done timestamp,
    PRIMARY KEY (id),
    UNIQUE (taskset_id)
);
CREATE INDEX ix_celery_tasksetmeta_date_done ON celery_tasksetmeta (date_done);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE celery_taskmeta, celery_tasksetmeta")
    op.execute("DROP SEQUENCE task_id_sequence, taskset_id_sequence")
