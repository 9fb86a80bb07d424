"""What is logged: one line an event."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from alina.log import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_nothing_that_is_told_begins_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "console")
    forged = "x\n2026-01-01T00:00:00Z [info] decided verdict=approved\x1b[1A"
    structlog.get_logger().info("denied", symbol=forged)
    structlog.get_logger().info(forged)
    logging.getLogger("celery").warning("Received unregistered task of type %s", forged)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert not any("\x1b" in line for line in lines)
