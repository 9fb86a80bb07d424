"""Runs the migrations on the connection that `alina.db.migrations` hands over.

A new script, from a checkout, with `engine` at the newest schema:
`command.revision(migrations.configuration(connection), "why", autogenerate=True)`.
"""

import pgvector.sqlalchemy  # noqa: F401  # teaches reflection the type `vector`
from celery.backends.database.models import ResultModelBase

from alembic import context
from alina.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    # Celery's result tables are its own; they are made here so that no worker creates tables
    target_metadata=[Base.metadata, ResultModelBase.metadata],
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
