"""The servers of one data folder together: started in order, revived when they die, stopped in reverse."""

import http.client
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from alina.embedded.folder import DataFolder
from alina.embedded.server import Command, Server

_log = structlog.get_logger(__name__)


class LocalServer(Server):
    """A program that writes its URL to a file once it listens, such as the venue.

    `prepare` is called only before a start, never when the server is taken over: there it may choose a port
    and write the file of settings that its command line names.
    """

    def __init__(
        self,
        folder: DataFolder,
        name: str,
        *,
        prepare: Callable[[], Command],
        url_file: Path,
        answers: Callable[[str], bool],
    ) -> None:
        self.name = name
        super().__init__(folder)
        self._command = prepare
        self._url_file = url_file
        self._ask = answers

    @property
    def url(self) -> str:
        """What the server wrote; empty until it has."""
        with suppress(FileNotFoundError):
            return self._url_file.read_text(encoding="utf-8").strip()
        return ""

    def _prepare(self) -> Command:
        self._url_file.unlink(missing_ok=True)  # of a server that was killed
        return self._command()

    def _answers(self) -> bool:
        return bool(url := self.url) and self._ask(url)


class EmbeddedServices:
    """What runs beside ALINA because nobody else runs it. A server that waits for another comes after it."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = tuple(servers)

    def start(self) -> dict[str, str]:
        """Start all, or take over those that run, and return their URLs by name.

        Raises SystemStateError when one does not start; those before it are stopped again.
        """
        try:
            return {server.name: server.start() for server in self._servers}
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all. One that cannot be stopped is logged and does not keep the others."""
        for server in reversed(self._servers):
            try:
                server.stop()
            except Exception:
                _log.exception("embedded server not stopped", server=server.name, pid=server.pid)

    def revive(self) -> tuple[str, ...]:
        """Start those that have died, and name them. Raises SystemStateError when one does not start."""
        dead = [server for server in self._servers if server.pid is None]
        for server in dead:
            server.start()
        return tuple(server.name for server in dead)


def answers_http(url: str, *, timeout: float = 2.0) -> bool:
    """Whether something at the URL answers a GET, whatever it says."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
