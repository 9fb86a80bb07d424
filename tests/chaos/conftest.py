"""The table of all cases, printed at the end."""

import pytest
from chaos_table import ChaosTable
from rich.console import Console

_KEY = pytest.StashKey[ChaosTable]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEY] = ChaosTable()


@pytest.fixture(scope="session")
def chaos_table(pytestconfig: pytest.Config) -> ChaosTable:
    """Where a case's result goes."""
    return pytestconfig.stash[_KEY]


def pytest_terminal_summary(config: pytest.Config) -> None:
    table = config.stash[_KEY]
    if table.results:
        table.show(Console(width=120))
