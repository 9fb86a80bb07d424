"""The public doors: what anyone may ask of the markets. Answers hold nothing later than `now`."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from alina.market_data.bars import Bar
from alina.venue import wire
from alina.venue.candles_csv import INTERVALS
from alina.venue.local_exchange import LocalExchange
from alina.venue.market_time import wall_ms
from alina.venue.markets import ListedMarket
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.store import Page

_DAY_MS = 86_400_000
#: the exchange, the parameters and market now (ms) in, JSON out
Answer = Callable[[LocalExchange, Params, int], Any]


def ping(_exchange: LocalExchange, _params: Params, _now: int) -> Any:
    return {}


def server_time(_exchange: LocalExchange, _params: Params, _now: int) -> Any:
    return {"serverTime": wall_ms()}


def system_status(_exchange: LocalExchange, _params: Params, _now: int) -> Any:
    return {"status": 0, "msg": "normal"}


def exchange_info(exchange: LocalExchange, _params: Params, now: int) -> Any:
    trading = not exchange.has_ended(now)
    return {
        "timezone": "UTC",
        "serverTime": wall_ms(),
        "rateLimits": exchange.rate_limits.told(),
        "exchangeFilters": [],
        "symbols": [wire.exchange_symbol(one.rules, trading=trading) for one in exchange.markets.values()],
    }


def klines(exchange: LocalExchange, params: Params, now: int) -> Any:
    market = exchange.market(params.text("symbol"))
    interval = INTERVALS.get(params.text("interval"))
    if interval is None or interval % market.replay.interval_ms:
        raise Refusal(-1120, "Invalid interval.")
    bars = market.candles(
        interval,
        now,
        start_ms=params.optional_integer("startTime"),
        end_ms=params.optional_integer("endTime"),
        limit=params.limit(default=500, most=1000),
    )
    return [wire.kline(bar, interval) for bar in bars]


def ticker_24hr(exchange: LocalExchange, params: Params, now: int) -> Any:
    return _for_each(exchange, params, lambda market: _day(exchange, market, now))


def ticker_price(exchange: LocalExchange, params: Params, now: int) -> Any:
    return _for_each(
        exchange,
        params,
        lambda market: {"symbol": market.rules.symbol, "price": wire.number(market.replay.price(now))},
    )


def book_ticker(exchange: LocalExchange, params: Params, now: int) -> Any:
    return _for_each(exchange, params, lambda market: {"symbol": market.rules.symbol, **_best(market, now)})


def _for_each(
    exchange: LocalExchange, params: Params, answer: Callable[[ListedMarket], dict[str, Any]]
) -> dict[str, Any] | list[dict[str, Any]]:
    """Of one symbol where it is named, else a list of all."""
    if params.has("symbol"):
        return answer(exchange.market(params.text("symbol")))
    return [answer(market) for market in exchange.markets.values()]


def _best(market: ListedMarket, now: int) -> dict[str, str]:
    book = market.book(now)
    return {
        "bidPrice": wire.number(book.bids[0].price),
        "bidQty": wire.number(book.bids[0].quantity),
        "askPrice": wire.number(book.asks[0].price),
        "askQty": wire.number(book.asks[0].quantity),
    }


def _day(exchange: LocalExchange, market: ListedMarket, now: int) -> dict[str, Any]:
    last = market.replay.price(now)
    bars = market.replay.bars(now - _DAY_MS, now, now) or [Bar(now, last, last, last, last, Decimal(0))]
    trades = exchange.public_fills(market.rules.symbol, Page(limit=1))
    opened = bars[0].open
    volume = sum((bar.volume for bar in bars), Decimal(0))
    quote_volume = sum((bar.volume * bar.close for bar in bars), Decimal(0))
    return {
        "symbol": market.rules.symbol,
        "priceChange": wire.number(last - opened),
        "priceChangePercent": f"{(last / opened - 1) * 100:.3f}",
        "weightedAvgPrice": f"{quote_volume / volume if volume else last:.8f}",
        "prevClosePrice": wire.number(opened),
        "lastPrice": wire.number(last),
        "lastQty": wire.number(trades[0].quantity if trades else Decimal(0)),
        **_best(market, now),
        "openPrice": wire.number(opened),
        "highPrice": wire.number(max(bar.high for bar in bars)),
        "lowPrice": wire.number(min(bar.low for bar in bars)),
        "volume": wire.number(volume),
        "quoteVolume": wire.number(quote_volume),
        "openTime": now - _DAY_MS,
        "closeTime": market.replay.as_of(now),
        "firstId": -1,
        "lastId": trades[0].trade_id if trades else -1,
        "count": 0,
    }


def depth(exchange: LocalExchange, params: Params, now: int) -> Any:
    book = exchange.market(params.text("symbol")).book(now)
    limit = params.limit(default=100, most=5000)
    return {"lastUpdateId": now, "bids": wire.levels(book.bids, limit), "asks": wire.levels(book.asks, limit)}


def trades(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """The trades of the venue's accounts: nobody else trades here."""
    symbol = exchange.market(params.text("symbol")).rules.symbol
    page = Page(limit=params.limit(default=500, most=1000))
    return [wire.public_trade(fill) for fill in exchange.public_fills(symbol, page)]


def aggregate_trades(exchange: LocalExchange, params: Params, _now: int) -> Any:
    symbol = exchange.market(params.text("symbol")).rules.symbol
    page = Page(
        from_id=params.optional_integer("fromId"),
        start_ms=params.optional_integer("startTime"),
        end_ms=params.optional_integer("endTime"),
        limit=params.limit(default=500, most=1000),
    )
    return [wire.aggregate_trade(fill) for fill in exchange.public_fills(symbol, page)]
