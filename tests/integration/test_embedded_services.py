"""Several servers together, and any program that writes its URL to a file."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alina.embedded.folder import DataFolder
from alina.embedded.server import Command
from alina.embedded.services import EmbeddedServices, LocalServer, answers_http
from alina.errors import SystemStateError

LITTLE_VENUE = """
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler)
open(sys.argv[2], "w").write(f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
"""
BROKEN = "import sys; sys.exit('no candles in sample.csv')"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


@pytest.fixture
def local(folder: DataFolder) -> Iterator[Callable[..., LocalServer]]:
    servers: list[LocalServer] = []

    def make(name: str, code: str = LITTLE_VENUE) -> LocalServer:
        url_file = folder.path / f"{name}.url"

        def prepare() -> Command:
            argv = [sys.executable, "-c", code, str(folder.port(name)), str(url_file)]
            return Command(argv=argv, cwd=folder.path, environment={})

        servers.append(LocalServer(folder, name, prepare=prepare, url_file=url_file, answers=answers_http))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def test_a_program_is_started_and_found_at_the_url_it_wrote(
    folder: DataFolder, local: Callable[..., LocalServer]
) -> None:
    url = local("venue").start()
    assert url == f"http://127.0.0.1:{folder.known_port('venue')}"
    assert answers_http(url, timeout=200)


def test_a_second_start_takes_it_over_and_does_not_choose_another_port(
    local: Callable[..., LocalServer],
) -> None:
    first, second = local("venue"), local("venue")
    assert first.start() == second.start()
    assert first.pid == second.pid


def test_a_program_that_dies_at_its_start_is_told_with_its_last_words(
    local: Callable[..., LocalServer],
) -> None:
    with pytest.raises(SystemStateError, match=r"venue did not start: no candles in sample\.csv"):
        local("venue", BROKEN).start()


def test_all_are_started_and_all_are_stopped(local: Callable[..., LocalServer]) -> None:
    one, two = local("one"), local("two")
    services = EmbeddedServices([one, two])
    assert services.start() == {"one": one.url, "two": two.url}
    services.stop()
    assert one.pid is None
    assert two.pid is None


def test_one_that_does_not_start_stops_those_before_it(local: Callable[..., LocalServer]) -> None:
    good = local("good")
    with pytest.raises(SystemStateError, match="bad did not start"):
        EmbeddedServices([good, local("bad", BROKEN)]).start()
    assert good.pid is None


def test_one_that_died_is_revived_where_it_was_and_named(local: Callable[..., LocalServer]) -> None:
    one, two = local("one"), local("two")
    services = EmbeddedServices([one, two])
    urls = services.start()
    assert services.revive() == ()
    assert two.pid
    os.kill(two.pid, signal.SIGKILL)
    deadline = time.monotonic() + 200
    while two.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert services.revive() == ("two",)
    assert {"one": one.url, "two": two.url} == urls
