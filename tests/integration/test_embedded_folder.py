"""The data folder on a real file system, with real processes."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from alina.embedded.folder import DataFolder, write_atomically
from alina.errors import SystemStateError

HOLD = """
import sys
from alina.embedded.folder import DataFolder
with DataFolder(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hold_elsewhere(folder: DataFolder) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_new_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    assert mode(DataFolder(tmp_path / "a" / "b").path) == 0o700


def test_a_path_that_is_a_file_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemStateError, match=r"system\.data_folder"):
        DataFolder(tmp_path / "file")


def test_a_second_holder_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    holder = hold_elsewhere(folder)
    try:
        assert folder.holder() == holder.pid
        with pytest.raises(SystemStateError, match=rf"pid {holder.pid}.*alina down"), folder.lock():
            pass
    finally:
        end(holder)


def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    end(hold_elsewhere(folder))
    assert folder.holder() is None
    with folder.lock():
        assert folder.holder() == os.getpid()
    assert folder.holder() is None


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    made = DataFolder(tmp_path).secret("redis")
    assert len(made) >= 32
    assert DataFolder(tmp_path).secret("redis") == made
    assert DataFolder(tmp_path).secret("postgres") != made
    assert mode(tmp_path / "secrets" / "redis") == 0o600
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == ["postgres", "redis"]


def test_a_port_is_kept_between_starts(tmp_path: Path) -> None:
    port = DataFolder(tmp_path).port("metrics")
    assert DataFolder(tmp_path).port("metrics") == port
    assert DataFolder(tmp_path).known_port("metrics") == port
    assert DataFolder(tmp_path).port("flower") != port


def test_a_port_that_somebody_else_has_taken_is_chosen_anew(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    port = folder.port("metrics")
    with socket.create_server(("127.0.0.1", port)):
        assert folder.known_port("metrics") == port
        assert folder.port("metrics") != port
    assert json.loads((tmp_path / "ports.json").read_text())["metrics"] != port


def test_a_full_disk_is_told_before_the_start(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.ensure_free_space(1)
    with pytest.raises(SystemStateError, match="free some space"):
        folder.ensure_free_space(10**18)


def test_a_replaced_file_is_private_and_leaves_no_temporary_behind(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_atomically(tmp_path / "file", text)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"
    assert mode(tmp_path / "file") == 0o600
