"""What a venue is told: its folder, its listings, its speed and its fees."""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Any

from alina.errors import ConfigError

#: the word that stands for the shipped candles
SAMPLE = "sample"
#: what begins a market that is made from a seed: synthetic:SEED or synthetic:SEED:TIMEFRAME
SYNTHETIC = "synthetic:"
#: what begins a market that a real exchange shows now: mirror:EXCHANGE or mirror:EXCHANGE:TIMEFRAME
MIRROR = "mirror:"
#: the fields that map an asset to an exact number
_AMOUNTS = {"balances", "fee_asset_prices"}
_SAMPLE_FILE = Path(__file__).parent / "sample" / "BTC_USD-1h.csv.gz"


class Dialect(StrEnum):
    """Whose REST API the venue speaks; the names are ccxt's."""

    BINANCE = "binance"
    #: fees are paid in quote, and the secret is base64
    KRAKEN = "kraken"


@dataclass(frozen=True, slots=True)
class Listing:
    """One market of the venue and the candles it replays."""

    symbol: str  # "BTC/USDT"
    #: a file of candles or trades, the word `sample`, synthetic:SEED or mirror:EXCHANGE
    data: str = SAMPLE
    #: quote per base; None: as fine as the prices of the file, at most 0.01
    tick_size: Decimal | None = None
    #: base
    lot_size: Decimal = Decimal("0.00001")
    #: quote; None: what Binance asks for that quote asset
    min_notional: Decimal | None = None

    def __post_init__(self) -> None:
        base, slash, quote = self.symbol.partition("/")
        if not (slash and base.isalnum() and quote.isalnum()):
            raise ConfigError(f"symbol {self.symbol!r} is not BASE/QUOTE: write e.g. BTC/USDT")

    @property
    def path(self) -> Path:
        """The file of candles or trades."""
        return _SAMPLE_FILE if self.data == SAMPLE else Path(self.data)


def names_a_file(data: str) -> bool:
    """Whether the data of a listing is a file's path, and no word of the venue's own."""
    return data != SAMPLE and not data.startswith((SYNTHETIC, MIRROR))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSpec:
    """One more account of a venue: its name, its keys and what it holds when its books are new."""

    name: str
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    balances: Mapping[str, Decimal] = field(default_factory=lambda: {"USDT": Decimal(10000)})

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.api_key or not self.secret:
            raise ConfigError(
                f"venue account {self.name!r}: give a name of letters and digits, and both keys"
            )
        if any(amount < 0 for amount in self.balances.values()):
            raise ConfigError(f"venue account {self.name}: no asset may begin below zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSpec:
    """Everything `python -m alina.venue` needs. Money and rates are exact; fees are fractions."""

    #: holds the books (SQLite), the lock and venue.url; one running venue a folder
    folder: Path
    host: str = "127.0.0.1"
    #: 0: a free port is chosen
    port: int = 0
    dialect: Dialect = Dialect.BINANCE
    listings: tuple[Listing, ...] = (Listing("BTC/USDT"),)
    #: market seconds a wall second; 0: the market stands still
    speed: Decimal = Decimal(1)
    #: candles already past when the replay begins
    warmup: int = 250
    #: what the account holds when the folder is new, by asset
    balances: Mapping[str, Decimal] = field(default_factory=lambda: {"USDT": Decimal(10000)})
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    #: fees are paid in this asset, e.g. BNB, as long as enough of it is free; None: in what is received
    fee_asset: str | None = None
    #: quote per unit of `fee_asset`, by quote asset
    fee_asset_prices: Mapping[str, Decimal] = field(default_factory=dict)
    #: best ask over best bid, as a fraction of the price
    spread: Decimal = Decimal("0.0002")
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    #: beside the one of `api_key`
    accounts: tuple[AccountSpec, ...] = ()
    #: of the ccxt class that looks at the mirrored exchange, e.g. another server; never a key
    mirror_options: Mapping[str, Any] = field(default_factory=dict)
    #: request weight a minute and address, as Binance enforces 6000; in Kraken's dialect what its counter
    #: loses in a minute; None: never enforced
    weight_limit: int | None = None
    #: orders in ten seconds, as Binance enforces 100; None: likewise
    order_limit_10s: int | None = None
    #: let POST /venue/v1/faults script failures
    faults: bool = False

    def __post_init__(self) -> None:
        if not self.listings or len({one.symbol for one in self.listings}) < len(self.listings):
            raise ConfigError("venue listings: give at least one, and each symbol once")
        if self.speed < 0 or self.warmup < 1:
            raise ConfigError(
                f"venue speed {self.speed} must not be negative, warmup {self.warmup} at least 1"
            )
        for name in ("maker_fee", "taker_fee", "spread"):
            if not 0 <= getattr(self, name) < Decimal("0.5"):
                raise ConfigError(f"venue {name} {getattr(self, name)} is no fraction: write 0.001 for 0.1 %")
        if any(limit is not None and limit < 1 for limit in (self.weight_limit, self.order_limit_10s)):
            raise ConfigError("venue weight_limit and order_limit_10s: leave them out, or allow at least 1")
        quotes = {one.symbol.partition("/")[2] for one in self.listings}
        if self.fee_asset and any(self.fee_asset_prices.get(quote, 0) <= 0 for quote in quotes):
            raise ConfigError(
                f"venue fee_asset_prices: give the price of {self.fee_asset} in each of {', '.join(quotes)}"
            )
        if any(amount < 0 for amount in self.balances.values()):
            raise ConfigError("venue balances: no asset may begin below zero")
        self._check_accounts()
        if self.dialect is Dialect.KRAKEN:
            self._check_for_kraken()

    def _check_accounts(self) -> None:
        if not self.api_key or not self.secret:
            raise ConfigError("venue api_key and secret: give both")
        keys = [self.api_key, *(one.api_key for one in self.accounts)]
        if len(set(keys)) < len(keys) or len({one.name for one in self.accounts}) < len(self.accounts):
            raise ConfigError("venue accounts: give each a name and an api_key of its own")

    def _check_for_kraken(self) -> None:
        if self.fee_asset:
            raise ConfigError("venue fee_asset: Kraken's fees are paid in quote: leave it out")
        try:
            for secret in (self.secret, *(one.secret for one in self.accounts)):
                base64.b64decode(secret, validate=True)
        except binascii.Error:
            raise ConfigError(
                "venue secret: Kraken's are base64: remove the file secrets/venue_secret, a new one is made"
            ) from None

    def to_json(self) -> str:
        """Numbers are text, so that no float ever stands between two processes."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("listings", "accounts"):
            values[name] = [
                {one.name: getattr(part, one.name) for one in fields(part)} for part in values[name]
            ]
        for account in values["accounts"]:
            account["balances"] = dict(account["balances"])
        values |= {name: dict(getattr(self, name)) for name in (*_AMOUNTS, "mirror_options")}
        return json.dumps(values, default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "VenueSpec":
        """The inverse of `to_json`; left out fields take their defaults. Raises ConfigError."""
        try:
            values: dict[str, Any] = json.loads(text)
            if "listings" in values:
                values["listings"] = tuple(_listing(one) for one in values["listings"])
            if "accounts" in values:
                values["accounts"] = tuple(_account(one) for one in values["accounts"])
            for name in _AMOUNTS & values.keys():
                values[name] = _amounts(values[name])
            for name in ("speed", "maker_fee", "taker_fee", "spread"):
                if name in values:
                    values[name] = Decimal(str(values[name]))
            if "dialect" in values:
                values["dialect"] = Dialect(values["dialect"])
            return cls(**{**values, "folder": Path(values["folder"])})
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation) as error:
            raise ConfigError(
                f"the venue's spec does not fit ({error!r}): see alina.venue.spec.VenueSpec"
            ) from None

    def write(self, path: Path) -> None:
        """Store it readable by its owner only: it carries the secret."""
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.to_json())


def _listing(values: Mapping[str, Any]) -> Listing:
    exact = {"tick_size", "lot_size", "min_notional"}
    arguments: dict[str, Any] = {
        name: Decimal(str(value)) if name in exact and value is not None else value
        for name, value in values.items()
    }
    return Listing(**arguments)


def _account(values: Mapping[str, Any]) -> AccountSpec:
    held = {"balances": _amounts(values["balances"])} if "balances" in values else {}
    return AccountSpec(**{**values, **held})


def _amounts(values: Mapping[str, Any]) -> dict[str, Decimal]:
    return {asset: Decimal(str(one)) for asset, one in values.items()}
