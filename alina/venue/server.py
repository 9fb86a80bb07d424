"""One running venue: its lock, its door and its end."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from alina.errors import SystemStateError
from alina.venue.http import VenueDoor
from alina.venue.local_exchange import LocalExchange, open_accounts
from alina.venue.mirror import Mirror
from alina.venue.spec import VenueSpec

URL_FILE = "venue.url"
_CHECKPOINT_SECONDS = 1.0


def serve(spec: VenueSpec) -> None:
    """Serve until SIGTERM or SIGINT, then write a checkpoint.

    Raises DataError for a bad file of candles, SystemStateError where the folder is in use, its books
    do not fit, the port is taken or the disk refuses a change.
    """
    try:
        spec.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SystemStateError(
            f"the venue's folder {spec.folder}: {error.strerror}; give another one"
        ) from error
    with _only_venue_of(spec.folder):
        (spec.folder / URL_FILE).unlink(missing_ok=True)
        accounts = open_accounts(spec)
        mirror = accounts[spec.api_key].mirror
        try:
            asyncio.run(_serve(accounts, spec, mirror))
        finally:
            for exchange in accounts.values():
                exchange.close()
            if mirror is not None:
                mirror.close()


async def _serve(accounts: Mapping[str, LocalExchange], spec: VenueSpec, mirror: Mirror | None) -> None:
    runner = web.AppRunner(VenueDoor(accounts, spec).app(), access_log=None, shutdown_timeout=2)
    await runner.setup()
    following = None if mirror is None else asyncio.create_task(mirror.follow())
    try:
        stop = _stop_event()
        await _listen(runner, spec)
        await _until_stopped(accounts.values(), stop)
    finally:
        if following is not None:
            following.cancel()
        await runner.cleanup()
        (spec.folder / URL_FILE).unlink(missing_ok=True)


async def _listen(runner: web.AppRunner, spec: VenueSpec) -> None:
    try:
        await web.TCPSite(runner, spec.host, spec.port).start()
    except OSError as error:
        raise SystemStateError(
            f"the venue cannot listen on {spec.host}:{spec.port} ({error.strerror}): "
            "choose another port, or 0"
        ) from error
    url = f"http://{spec.host}:{runner.addresses[0][1]}"
    fresh = spec.folder / f"{URL_FILE}.new"
    fresh.write_text(url)
    fresh.replace(spec.folder / URL_FILE)
    sys.stdout.write(f"venue listening on {url}\n")
    sys.stdout.flush()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until_stopped(exchanges: Collection[LocalExchange], stop: asyncio.Event) -> None:
    """Match and checkpoint once a second, asked or not."""
    while not stop.is_set():
        for exchange in exchanges:
            exchange.advance()
        try:
            await asyncio.wait_for(stop.wait(), _CHECKPOINT_SECONDS)
        except TimeoutError:
            continue


@contextmanager
def _only_venue_of(folder: Path) -> Iterator[None]:
    """The kernel drops this lock with the process, however that ends."""
    descriptor = os.open(folder / "venue.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemStateError(
                f"another venue runs in {folder}: stop it, or give another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)
