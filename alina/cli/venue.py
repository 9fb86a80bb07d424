"""The local exchange alone, for any client that speaks Binance Spot or Kraken."""

import sys
from contextlib import redirect_stdout
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from alina.cli.output import AsJson, print_json, say
from alina.errors import ConfigError

_SAMPLE = ("BTC/USDT=sample",)


def venue(
    data: Annotated[
        list[str] | None,
        typer.Option(help="SYMBOL=FILE, SYMBOL=sample or SYMBOL=synthetic:SEED; repeatable."),
    ] = None,
    speed: Annotated[str, typer.Option(help="Market seconds a wall second.")] = "1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: chosen at the first start.")] = 0,
    dialect: Annotated[str, typer.Option(help="Whose REST API it speaks: binance or kraken.")] = "binance",
    folder: Annotated[Path, typer.Option(help="The venue's books and keys.")] = Path(".alina/venue"),
    account: Annotated[
        list[str] | None,
        typer.Option(help="One more account of this name, with keys of its own; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve the local exchange alone.

    Until Ctrl-C, for any client that speaks Binance Spot or Kraken.

    Example: alina venue --data BTC/USDT=sample --speed 60 --port 8080
    """
    from alina.cli.data_files import listings
    from alina.embedded.folder import DataFolder
    from alina.venue.server import serve
    from alina.venue.spec import AccountSpec, Dialect, VenueSpec

    chosen, exact_speed = listings(data or _SAMPLE), _exact(speed)
    if dialect not in list(Dialect):
        raise ConfigError(f"--dialect {dialect}: write one of {', '.join(Dialect)}")
    home = DataFolder(folder)
    names = account or []
    spec = VenueSpec(
        folder=home.path,
        port=port or home.known_port("venue") or home.port("venue"),
        dialect=Dialect(dialect),
        listings=chosen,
        speed=exact_speed,
        api_key=home.secret("venue_api_key"),
        secret=home.secret("venue_secret"),
        accounts=tuple(
            AccountSpec(
                name=name,
                api_key=home.secret(f"account_{name}_api_key"),
                secret=home.secret(f"account_{name}_secret"),
            )
            for name in names
        ),
    )
    places = {
        "url": f"http://{spec.host}:{spec.port}",
        "api_key_file": home.path / "secrets/venue_api_key",
        "secret_file": home.path / "secrets/venue_secret",
    }
    for name in names:
        places[f"{name}_api_key_file"] = home.path / f"secrets/account_{name}_api_key"
        places[f"{name}_secret_file"] = home.path / f"secrets/account_{name}_secret"
    if as_json:
        print_json(places)
        with redirect_stdout(sys.stderr):
            serve(spec)
    else:
        for name, place in places.items():
            say(f"{name:<14} {place}")
        serve(spec)


def _exact(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ConfigError(f"--speed {number} is no number: write e.g. 60") from None
