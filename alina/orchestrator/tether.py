"""Run a program that is told to end when its parent dies, even by kill -9. Linux.

    python -I -S tether.py PARENT_PID PROGRAM [ARGUMENT ...]

A program of its own because the call must be made in the child, and Python code between fork and exec is
not safe in a process with threads. Imports nothing of ours: it must start in milliseconds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept across exec


def main(parent: int, argv: list[str]) -> None:
    """Become the program."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the call
        sys.exit("the supervisor is gone")
    os.execvp(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
