"""Kraken's public doors: what anyone may ask of the markets. Answers hold nothing later than `now`."""

from email.utils import formatdate
from typing import Any

from alina.venue import kraken_wire as wire
from alina.venue.kraken_names import asset_code, pair_id, pair_name, socket_name
from alina.venue.local_exchange import LocalExchange
from alina.venue.market_time import wall_ms
from alina.venue.markets import ListedMarket
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.store import Page

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
#: minutes
_INTERVALS = (1, 5, 15, 30, 60, 240, 1440)
_MOST_CANDLES = 720
#: times of trades from here on are nanoseconds and no seconds
_FIRST_NANOSECONDS, _NANOSECOND_DIGITS = 10**15, 19


def named_market(exchange: LocalExchange, pair: str) -> ListedMarket:
    """By its id, its name or the name with a slash. Raises Refusal."""
    for market in exchange.markets.values():
        if pair in (pair_id(market.rules), pair_name(market.rules), socket_name(market.rules)):
            return market
    raise Refusal(-1121, "Unknown asset pair.")


def server_time(_exchange: LocalExchange, _params: Params, _now: int) -> Any:
    now = wall_ms() / 1000
    return {"unixtime": int(now), "rfc1123": formatdate(now, usegmt=True)}


def system_status(exchange: LocalExchange, _params: Params, now: int) -> Any:
    return {"status": "cancel_only" if exchange.has_ended(now) else "online"}


def assets(exchange: LocalExchange, _params: Params, _now: int) -> Any:
    held = [balance.asset for balance in exchange.engine.accounts.all()]
    return {asset_code(name): wire.asset(name) for name in held}


def asset_pairs(exchange: LocalExchange, params: Params, now: int) -> Any:
    trading = not exchange.has_ended(now)
    return {
        pair_id(market.rules): wire.asset_pair(market.rules, exchange.fees, trading=trading)
        for market in _chosen(exchange, params)
    }


def ticker(exchange: LocalExchange, params: Params, now: int) -> Any:
    return {pair_id(market.rules): _ticker(market, now) for market in _chosen(exchange, params)}


def _ticker(market: ListedMarket, now: int) -> dict[str, Any]:
    book = market.book(now)
    bars = market.replay.bars(now - _DAY_MS, now, now)
    return wire.day_ticker(bars, (book.bids[0], book.asks[0]), market.replay.price(now))


def candles(exchange: LocalExchange, params: Params, now: int) -> Any:
    """The newest 720 at most, however far back they are asked for; the last one is still forming."""
    market = named_market(exchange, params.text("pair"))
    minutes = params.optional_integer("interval") or 1
    interval = minutes * _MINUTE_MS
    if minutes not in _INTERVALS or interval % market.replay.interval_ms:
        raise Refusal(-1120, "Invalid interval.")
    bars = market.candles(interval, now, start_ms=None, end_ms=None, limit=_MOST_CANDLES)
    since = (params.optional_integer("since") or 0) * 1000
    last = bars[-2].open_ms // 1000 if len(bars) > 1 else 0
    return {
        pair_id(market.rules): [wire.candle(bar) for bar in bars if bar.open_ms > since],
        "last": last,
    }


def depth(exchange: LocalExchange, params: Params, now: int) -> Any:
    market = named_market(exchange, params.text("pair"))
    book, count = market.book(now), min(params.optional_integer("count") or 100, 500)
    return {
        pair_id(market.rules): {
            "asks": wire.levels(book.asks, count, now),
            "bids": wire.levels(book.bids, count, now),
        }
    }


def trades(exchange: LocalExchange, params: Params, now: int) -> Any:
    """The trades of the venue's accounts: nobody else trades here."""
    market = named_market(exchange, params.text("pair"))
    since = params.optional_integer("since", most_digits=_NANOSECOND_DIGITS)
    page = Page(
        start_ms=None if since is None else _milliseconds(since),
        limit=min(params.optional_integer("count") or 1000, 1000),
    )
    fills = exchange.public_fills(market.rules.symbol, page)
    last = fills[-1].executed_ms if fills else now
    return {pair_id(market.rules): [wire.public_trade(one) for one in fills], "last": f"{last * 1_000_000}"}


def _milliseconds(since: int) -> int:
    """Of seconds, or of nanoseconds as `last` of an answer tells them."""
    return since // 1_000_000 if since >= _FIRST_NANOSECONDS else since * 1000


def _chosen(exchange: LocalExchange, params: Params) -> list[ListedMarket]:
    """The markets that `pair` names, separated by commas; all where it names none."""
    if not params.has("pair"):
        return list(exchange.markets.values())
    return [named_market(exchange, name) for name in params.text("pair").split(",")]
