"""The HTTP door in Kraken's dialect: its REST API under /0, over the same exchange.

Kraken's answers name no time of the market: the header `Date` tells it, to the second.
"""

from collections.abc import Mapping
from email.utils import formatdate
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from alina.venue import kraken_private, kraken_public
from alina.venue.kraken_answers import answered, refused
from alina.venue.kraken_limits import CallCounter
from alina.venue.kraken_signing import KEY_HEADER, KrakenSigning
from alina.venue.local_exchange import LocalExchange
from alina.venue.market_routes import Answer
from alina.venue.market_time import wall_ms
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.spec import VenueSpec

#: name, what answers
_PUBLIC: tuple[tuple[str, Answer], ...] = (
    ("Time", kraken_public.server_time),
    ("SystemStatus", kraken_public.system_status),
    ("Assets", kraken_public.assets),
    ("AssetPairs", kraken_public.asset_pairs),
    ("Ticker", kraken_public.ticker),
    ("OHLC", kraken_public.candles),
    ("Depth", kraken_public.depth),
    ("Trades", kraken_public.trades),
)
#: name, what answers, what it adds to the key's counter
_PRIVATE: tuple[tuple[str, Answer, int], ...] = (
    ("AddOrder", kraken_private.add_order, 0),
    ("CancelOrder", kraken_private.cancel_order, 0),
    ("CancelAll", kraken_private.cancel_all, 1),
    ("OpenOrders", kraken_private.open_orders, 1),
    ("ClosedOrders", kraken_private.closed_orders, 2),
    ("QueryOrders", kraken_private.query_orders, 1),
    ("TradesHistory", kraken_private.trades_history, 2),
    ("QueryTrades", kraken_private.query_trades, 1),
    ("Balance", kraken_private.balances, 1),
    ("BalanceEx", kraken_private.extended_balances, 1),
    ("TradeVolume", kraken_private.trade_volume, 1),
)


class KrakenDoor:
    """Turns Kraken's requests into calls of the account whose key they bear. `accounts`: by API key."""

    def __init__(self, accounts: Mapping[str, LocalExchange], spec: VenueSpec) -> None:
        self._accounts = accounts
        self._own_key = spec.api_key
        secrets = {spec.api_key: spec.secret, **{one.api_key: one.secret for one in spec.accounts}}
        self._signing = {key: KrakenSigning(key, secret) for key, secret in secrets.items()}
        self._calls = {key: CallCounter(spec.weight_limit) for key in secrets}
        self._public_calls: dict[str, CallCounter] = {}
        self._a_minute = spec.weight_limit

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        for name, answer in _PUBLIC:
            router.add_get(f"/0/public/{name}", self._public(answer))
        for name, answer, cost in _PRIVATE:
            router.add_post(f"/0/private/{name}", self._private(answer, cost))

    def _public(self, answer: Answer) -> Handler:
        async def door(request: web.Request) -> web.StreamResponse:
            calls = self._public_calls.setdefault(request.remote or "", CallCounter(self._a_minute))
            try:
                _take(calls, 1)
                return self._answer(answer, Params(dict(request.query)), self._accounts[self._own_key])
            except Refusal as refusal:
                return refused(refusal)

        return door

    def _private(self, answer: Answer, cost: int) -> Handler:
        is_order = answer is kraken_private.add_order

        async def door(request: web.Request) -> web.StreamResponse:
            body = (await request.read()).decode(errors="replace")
            params, named = Params(dict(parse_qsl(body))), request.headers.get(KEY_HEADER, "")
            key = named if named in self._accounts else self._own_key
            exchange = self._accounts[key]
            try:
                self._signing[key].check(request.headers, request.path, body, params)
                _take(self._calls[key], cost)
                if is_order:
                    exchange.rate_limits.check_order(wall_ms())
                response = self._answer(answer, params, exchange)
            except Refusal as refusal:
                return refused(refusal)
            if is_order:
                exchange.rate_limits.count_order(wall_ms())
            return response

        return door

    @staticmethod
    def _answer(answer: Answer, params: Params, exchange: LocalExchange) -> web.Response:
        now = exchange.advance()
        response = answered(answer(exchange, params, now))
        shown = min(market.replay.as_of(now) for market in exchange.markets.values())
        response.headers["Date"] = formatdate(shown / 1000, usegmt=True)
        return response


def _take(calls: CallCounter, cost: int) -> None:
    if not calls.take(cost, wall_ms()):
        raise Refusal(-1003, "Rate limit exceeded.")
