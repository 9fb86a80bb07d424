"""Bring the database to the newest schema and write the rows that everything refers to. Safe to repeat."""

from alina import bootstrap
from alina.config import load_settings
from alina.db import migrations


def main() -> None:
    """Raises DatabaseUnavailable if Postgres does not answer."""
    settings = load_settings()
    url = bootstrap.connections(settings).database_url
    migrations.upgrade(url)
    bootstrap.prepare_ledger(settings, database_url=url)


if __name__ == "__main__":
    main()
