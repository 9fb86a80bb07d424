"""The local exchange alone, for any client that speaks Binance Spot."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.output import AsJson, print_json, say
from alina.errors import ConfigError

if TYPE_CHECKING:
    from alina.venue.spec import Listing

_SAMPLE = ("BTC/USDT=sample",)


def venue(
    data: Annotated[
        list[str] | None, typer.Option(help="SYMBOL=FILE.csv of candles, or SYMBOL=sample; repeatable.")
    ] = None,
    speed: Annotated[str, typer.Option(help="Market seconds a wall second.")] = "1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: chosen at the first start.")] = 0,
    folder: Annotated[Path, typer.Option(help="The venue's books and keys.")] = Path(".alina/venue"),
    as_json: AsJson = False,
) -> None:
    """Serve the local exchange alone.

    Until Ctrl-C, for any client that speaks Binance Spot.

    Example: alina venue --data BTC/USDT=sample --speed 60 --port 8080
    """
    from alina.embedded.folder import DataFolder
    from alina.venue.server import serve
    from alina.venue.spec import VenueSpec

    listings, exact_speed = _listings(data or _SAMPLE), _exact(speed)
    home = DataFolder(folder)
    spec = VenueSpec(
        folder=home.path,
        port=port or home.known_port("venue") or home.port("venue"),
        listings=listings,
        speed=exact_speed,
        api_key=home.secret("venue_api_key"),
        secret=home.secret("venue_secret"),
    )
    places = {
        "url": f"http://{spec.host}:{spec.port}",
        "api_key_file": home.path / "secrets/venue_api_key",
        "secret_file": home.path / "secrets/venue_secret",
    }
    if as_json:
        print_json(places)
        with redirect_stdout(sys.stderr):
            serve(spec)
    else:
        for name, place in places.items():
            say(f"{name:<12} {place}")
        serve(spec)


def _listings(entries: Sequence[str]) -> "tuple[Listing, ...]":
    from alina.venue.spec import SAMPLE, Listing

    listings = []
    for entry in entries:
        symbol, equals, file = entry.partition("=")
        if not (equals and file):
            raise ConfigError(f"--data {entry}: write SYMBOL=FILE, e.g. BTC/USDT=candles.csv")
        if file != SAMPLE and not Path(file).is_file():
            raise ConfigError(f"--data {entry}: {file} is not there: correct the path")
        listings.append(Listing(symbol, file))
    return tuple(listings)


def _exact(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ConfigError(f"--speed {number} is no number: write e.g. 60") from None
