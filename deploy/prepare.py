"""Bring the database to the newest schema, let its roles log in and write the first rows. Safe to repeat."""

from alina import bootstrap
from alina.config import load_settings


def main() -> None:
    """Raises DatabaseUnavailable if Postgres does not answer."""
    settings = load_settings()
    bootstrap.prepare_database(settings, bootstrap.connections(settings))


if __name__ == "__main__":
    main()
