"""One system for the session: started when a test first needs it, and again if a test has ended it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_system import RunningSystem


@pytest.fixture(scope="session")
def one_system() -> Iterator[RunningSystem]:
    # not pytest's own folder: a second session of pytest resets the rights the server's user needs on it
    home = Path(tempfile.mkdtemp(prefix="alina-e2e-"))
    system = RunningSystem(home)
    yield system
    system.close()
    system.down()
    system.assert_nothing_is_left()
    shutil.rmtree(home)


@pytest.fixture
def system(one_system: RunningSystem) -> RunningSystem:
    """Running and ready."""
    one_system.start()
    return one_system
