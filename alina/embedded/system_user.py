"""Started as root: the ordinary user that Postgres runs as instead, and the way to its files.

Postgres refuses to run as root. A user of its own may read nothing else; on the folders above its files
it is given the right to pass through (an ACL entry), and nobody else is given anything.
"""

import os
import pwd
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from alina.errors import SystemStateError

_NAME = "alina-postgres"
_ACL = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)  # the format of this attribute: linux/posix_acl_xattr.h
_ENTRY = struct.Struct("<HHI")  # tag, permission bits, user id
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY_NAMED = 0xFFFFFFFF
_SEARCH = 0o1


def postgres_user() -> pwd.struct_passwd | None:
    """The user to run Postgres as, made once; None when we are not root: then it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(_NAME)
    try:
        _add_user()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemStateError(
            f"Postgres may not run as root and the user {_NAME} cannot be added ({error}): "
            f"add it with `useradd --system {_NAME}`, or run ALINA as an ordinary user"
        ) from error
    return pwd.getpwnam(_NAME)


class _RunAs(TypedDict):
    user: int | None
    group: int | None
    extra_groups: tuple[()] | None
    umask: int


def run_as(user: pwd.struct_passwd | None) -> _RunAs:
    """Arguments for subprocess: run as that user without further groups, and make files for it alone."""
    return {
        "user": user.pw_uid if user else None,
        "group": user.pw_gid if user else None,
        "extra_groups": () if user else None,
        "umask": 0o077,
    }


def let_through(user: pwd.struct_passwd, path: Path) -> None:
    """Let the user reach `path`: the right to search every folder above it that not all may search."""
    for folder in path.parents:
        if not folder.stat().st_mode & _SEARCH and folder.stat().st_uid != user.pw_uid:
            _grant_search(user, folder)


def _add_user() -> None:
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        _NAME,
    ]
    subprocess.run(command, check=True, capture_output=True)


def _grant_search(user: pwd.struct_passwd, folder: Path) -> None:
    entries = _entries(folder)
    entries[_USER, user.pw_uid] = _SEARCH
    entries[_MASK, _NOBODY_NAMED] = (
        entries.get((_MASK, _NOBODY_NAMED), entries[0x04, _NOBODY_NAMED]) | _SEARCH
    )
    packed = b"".join(_ENTRY.pack(tag, entries[tag, who], who) for tag, who in sorted(entries))
    try:
        os.setxattr(folder, _ACL, _VERSION + packed)
    except OSError as error:
        raise SystemStateError(
            f"Postgres runs as {user.pw_name}, which cannot pass through {folder} ({error.strerror}): "
            f"run `chmod o+x {folder}`, or set system.data_folder elsewhere, or run ALINA as an ordinary user"
        ) from error


def _entries(folder: Path) -> dict[tuple[int, int], int]:
    """The folder's access list, (tag, user id) -> permission bits; made from its mode if it has none."""
    with suppress(OSError):
        packed = os.getxattr(folder, _ACL)[len(_VERSION) :]
        return {(tag, who): permissions for tag, permissions, who in _ENTRY.iter_unpack(packed)}
    mode = folder.stat().st_mode
    return {
        (tag, _NOBODY_NAMED): mode >> shift & 7 for tag, shift in ((_OWNER, 6), (_GROUP, 3), (_OTHERS, 0))
    }
