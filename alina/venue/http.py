"""The HTTP door: the dialect's REST API (Binance Spot under /api/v3), the venue's own under /venue/v1.

One event loop does everything; between reading a request and answering it nothing else runs.
"""

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.typedefs import Handler

from alina.errors import SystemStateError
from alina.venue import account_routes, kraken_answers, kraken_signing, list_routes, market_routes
from alina.venue.answers import refused
from alina.venue.fault_door import LATE, REFUSED, deliver_late, meet
from alina.venue.faults import Fault, FaultScript
from alina.venue.kraken_door import KrakenDoor
from alina.venue.local_exchange import LocalExchange
from alina.venue.market_routes import Answer
from alina.venue.market_time import wall_ms
from alina.venue.params import Params
from alina.venue.rate_limits import weight_of
from alina.venue.refusal import Refusal
from alina.venue.signing import KEY_HEADER, Signing
from alina.venue.spec import Dialect, VenueSpec
from alina.venue.stream_markets import ShownBooks
from alina.venue.streams import Streams

#: method, path, what answers, request weight as Binance counts it (of one symbol)
_PUBLIC: tuple[tuple[str, str, Answer, int], ...] = (
    ("GET", "/api/v3/ping", market_routes.ping, 1),
    ("GET", "/api/v3/time", market_routes.server_time, 1),
    ("GET", "/api/v3/exchangeInfo", market_routes.exchange_info, 20),
    ("GET", "/api/v3/klines", market_routes.klines, 2),
    ("GET", "/api/v3/ticker/24hr", market_routes.ticker_24hr, 2),
    ("GET", "/api/v3/ticker/price", market_routes.ticker_price, 2),
    ("GET", "/api/v3/ticker/bookTicker", market_routes.book_ticker, 2),
    ("GET", "/api/v3/trades", market_routes.trades, 25),
    ("GET", "/api/v3/aggTrades", market_routes.aggregate_trades, 4),
    ("GET", "/sapi/v1/system/status", market_routes.system_status, 1),
)
_SIGNED: tuple[tuple[str, str, Answer, int], ...] = (
    ("POST", "/api/v3/order", account_routes.place_order, 1),
    ("POST", "/api/v3/order/test", account_routes.check_order, 1),
    ("GET", "/api/v3/order", account_routes.find_order, 4),
    ("DELETE", "/api/v3/order", account_routes.cancel_order, 1),
    ("GET", "/api/v3/openOrders", account_routes.open_orders, 6),
    ("DELETE", "/api/v3/openOrders", account_routes.cancel_open_orders, 1),
    ("GET", "/api/v3/allOrders", account_routes.all_orders, 20),
    ("GET", "/api/v3/myTrades", account_routes.my_trades, 20),
    ("GET", "/api/v3/account", account_routes.account, 20),
    ("GET", "/sapi/v1/asset/tradeFee", account_routes.trade_fees, 1),
    ("POST", "/api/v3/orderList/oco", list_routes.place_oco, 1),
    ("POST", "/api/v3/order/oco", list_routes.place_old_oco, 1),
    ("GET", "/api/v3/orderList", list_routes.find_list, 4),
    ("DELETE", "/api/v3/orderList", list_routes.cancel_list, 1),
    ("GET", "/api/v3/openOrderList", list_routes.open_lists, 6),
)
#: what the limit on orders counts
_PLACE = (account_routes.place_order, list_routes.place_oco, list_routes.place_old_oco)


class VenueDoor:
    """Turns requests into calls of the account whose key they bear; of the first where they bear none.

    `accounts`: by API key, the spec's own first.
    """

    def __init__(self, accounts: Mapping[str, LocalExchange], spec: VenueSpec) -> None:
        self._accounts = accounts
        self._exchange = accounts[spec.api_key]
        self._spec = spec
        secrets = {spec.api_key: spec.secret, **{one.api_key: one.secret for one in spec.accounts}}
        self._signing = {key: Signing(key, secret) for key, secret in secrets.items()}
        self._faults = FaultScript()

    def app(self) -> web.Application:
        """The web application; it holds no thread and no task of its own."""
        app = web.Application(middlewares=[_answer_errors, self._meet_faults])
        app[LATE] = WeakKeyDictionary()
        if self._spec.dialect is Dialect.KRAKEN:
            app[REFUSED] = kraken_answers.refused
            KrakenDoor(self._accounts, self._spec).add_to(app.router)
        else:
            app[REFUSED] = refused
            self._add_binance(app)
        app.router.add_get("/venue/v1/clock", self._clock)
        if self._spec.faults:
            app.router.add_post("/venue/v1/clock", self._move_clock)
            app.router.add_post("/venue/v1/faults", self._script_fault)
            app.router.add_get("/venue/v1/faults", self._report_faults)
            app.router.add_delete("/venue/v1/faults", self._clear_faults)
        return app

    def _add_binance(self, app: web.Application) -> None:
        shown = ShownBooks()
        Streams(self._accounts, self._signing, shown).add_to(app)
        for method, path, answer, weight in (*_PUBLIC, ("GET", "/api/v3/depth", shown.depth, 5)):
            app.router.add_route(method, path, self._door(answer, weight, signed=False))
        for method, path, answer, weight in _SIGNED:
            app.router.add_route(method, path, self._door(answer, weight, signed=True))

    def _door(self, answer: Answer, weight: int, *, signed: bool) -> Handler:
        async def door(request: web.Request) -> web.StreamResponse:
            query, body = request.raw_path.partition("?")[2], (await request.read()).decode(errors="replace")
            params, wall = Params(dict(parse_qsl(query) + parse_qsl(body))), wall_ms()
            limits, address = self._exchange.rate_limits, request.remote or ""
            used = limits.use(address, weight_of(request.path, params, weight), wall)
            is_order, exchange = answer in _PLACE, self._asked(request)
            try:
                limits.check(address, wall)
                if signed:
                    self._signed(request).check(request.headers, query, body, params, wall)
                if is_order:
                    exchange.rate_limits.check_order(wall)
                response = web.json_response(answer(exchange, params, exchange.advance()))
            except Refusal as refusal:
                response = refused(refusal)
            else:
                response.headers.update(exchange.rate_limits.count_order(wall) if is_order else {})
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            return response

        return door

    def _asked(self, request: web.Request) -> LocalExchange:
        """The account that a request is of. Nothing of it is shown before its signature is checked."""
        keys = (request.headers.get(name, "") for name in (KEY_HEADER, kraken_signing.KEY_HEADER))
        return next((self._accounts[key] for key in keys if key in self._accounts), self._exchange)

    def _signed(self, request: web.Request) -> Signing:
        return self._signing.get(request.headers.get(KEY_HEADER, ""), self._signing[self._spec.api_key])

    async def _clock(self, _request: web.Request) -> web.StreamResponse:
        now = self._exchange.advance()
        market_time = self._exchange.time
        return web.json_response(
            {
                "wall": wall_ms(),
                "market": now,
                "speed": str(market_time.speed),
                "end": market_time.end_ms,
                "ended": self._exchange.has_ended(now),
                "instance": self._exchange.instance,
            }
        )

    async def _move_clock(self, request: web.Request) -> web.StreamResponse:
        """Move the market on to a time, e.g. {"market": 1767225600000}; back it never goes."""
        try:
            moment = int(json.loads(await request.read())["market"])
        except (ValueError, KeyError, TypeError):
            return refused(Refusal(-1100, 'write the time as {"market": MILLISECONDS}'))
        self._exchange.time.not_before(min(moment, self._exchange.time.end_ms))
        for exchange in self._accounts.values():
            exchange.advance()
        return await self._clock(request)

    async def _script_fault(self, request: web.Request) -> web.StreamResponse:
        try:
            self._faults.add(Fault.from_json(json.loads(await request.read())))
        except (Refusal, ValueError) as error:
            return refused(error if isinstance(error, Refusal) else Refusal(-1100, "no JSON"))
        return web.json_response({})

    async def _report_faults(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self._faults.report())

    async def _clear_faults(self, _request: web.Request) -> web.StreamResponse:
        self._faults.clear()
        return web.json_response(self._faults.report())

    @web.middleware
    async def _meet_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        deliver_late(request)
        fault = self._faults.take(request.method, request.path)
        if fault is None:
            return await handler(request)
        return await meet(fault, request, handler, self._asked(request))


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A venue whose books are broken answers like Binance in trouble: the status is unknown."""
    try:
        return await handler(request)
    except SystemStateError as error:
        return web.Response(status=503, text=str(error))
