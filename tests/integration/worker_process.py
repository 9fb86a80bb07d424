"""A worker of the tests and its end."""

import signal
import subprocess

import psutil


def end_worker(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to stop, and leave neither it nor a child behind."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(200)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        if child.is_running():
            child.kill()
