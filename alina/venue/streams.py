"""The WebSocket doors of Binance's dialect: market streams, and the account's by the WebSocket API.

Market streams are at /stream/ws, as ccxt tells spot streams by that word. A tenth of a second is the finest
that a stream tells; orders and trades of the account are told when they are on the disk, all of them, or the
connection is closed.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from alina.errors import SystemStateError
from alina.venue.engine import Changes
from alina.venue.local_exchange import LocalExchange
from alina.venue.market_time import wall_ms
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.signing import KEY_HEADER, Signing
from alina.venue.stream_events import Event, account_events
from alina.venue.stream_markets import ShownBooks, Subscriptions

_PERIOD_SECONDS = 0.1
#: commits that may wait for a client to read; who is slower is cut off
_MOST_WAITING = 10_000


class _Inbox:
    """What was committed in some accounts since a connection last looked."""

    def __init__(self) -> None:
        #: the accounts that are listened to
        self.exchanges: tuple[LocalExchange, ...] = ()
        self._waiting: deque[Changes] = deque(maxlen=_MOST_WAITING)

    def listen(self, *exchanges: LocalExchange) -> None:
        """From now on to these accounts, or to none."""
        for one in self.exchanges:
            one.listeners.remove(self._waiting.append)
        self._waiting.clear()
        for one in exchanges:
            one.listeners.append(self._waiting.append)
        self.exchanges = exchanges

    def take(self) -> list[Changes]:
        """Raises SystemStateError where some may have been lost."""
        if len(self._waiting) == _MOST_WAITING:
            raise SystemStateError("the client reads too slowly")
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


#: market now and what was committed since in, what is told out
_Due = Callable[[int, list[Changes]], Iterable[Event]]


class Streams:
    """The sockets of one venue. `accounts` and `signing`: by API key; all their trades are public."""

    def __init__(
        self, accounts: Mapping[str, LocalExchange], signing: Mapping[str, Signing], shown: ShownBooks
    ) -> None:
        self._accounts = accounts
        self._exchange = next(iter(accounts.values()))
        self._signing = signing
        self._shown = shown
        self._open: set[web.WebSocketResponse] = set()

    def add_to(self, app: web.Application) -> None:
        """Register the routes, and let the sockets end with the application."""
        app.router.add_get("/stream/ws", self._markets)
        app.router.add_get("/stream/ws/{name}", self._markets)
        app.router.add_get("/ws-api/v3", self._account)
        app.on_shutdown.append(self._close)

    async def _close(self, _app: web.Application) -> None:
        for socket in list(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _markets(self, request: web.Request) -> web.StreamResponse:
        subscriptions, inbox = Subscriptions(self._exchange, self._shown), _Inbox()
        inbox.listen(*self._accounts.values())

        def due(now: int, changes: list[Changes]) -> Iterable[Event]:
            return subscriptions.due(now, [fill for one in changes for fill in one.fills])

        def answer(asked: dict[str, Any]) -> Event:
            return {"id": asked.get("id"), "result": self._subscribe(subscriptions, asked)}

        def refused(asked: dict[str, Any], refusal: Refusal) -> Event:
            return {"id": asked.get("id"), "error": {"code": refusal.code, "msg": refusal.message}}

        return await self._talk(request, inbox, due, answer, refused)

    def _subscribe(self, subscriptions: Subscriptions, asked: dict[str, Any]) -> list[str] | None:
        match asked:
            case {"method": "SUBSCRIBE", "params": [*names]}:
                now = self._exchange.advance()
                for name in names:
                    subscriptions.add(str(name), now)
                return None
            case {"method": "UNSUBSCRIBE", "params": [*names]}:
                for name in names:
                    subscriptions.remove(str(name))
                return None
            case {"method": "LIST_SUBSCRIPTIONS"}:
                return subscriptions.names()
        raise Refusal(2, "Invalid request: unknown method")

    async def _account(self, request: web.Request) -> web.StreamResponse:
        inbox, newest_told = _Inbox(), 0

        def due(now: int, changes: list[Changes]) -> Iterable[Event]:
            nonlocal newest_told
            for one in changes:
                for event in account_events(one, newest_told=newest_told, now=now):
                    yield {"subscriptionId": 0, "event": event}
                newest_told = max([newest_told, *(order.order_id for order in one.orders)])

        def answer(asked: dict[str, Any]) -> Event:
            nonlocal newest_told
            match asked:
                case {"method": "userDataStream.subscribe.signature", "params": {**params}}:
                    exchange = self._signed(params)
                    newest_told = exchange.store.next_ids()[0] - 1
                    inbox.listen(exchange)
                    result: Event = {"subscriptionId": 0}
                case {"method": "userDataStream.unsubscribe"}:
                    inbox.listen()
                    result = {}
                case {"method": "ping"}:
                    result = {}
                case {"method": "time"}:
                    result = {"serverTime": wall_ms()}
                case _:
                    raise Refusal(-1000, "Unknown method.")
            return {"id": asked.get("id"), "status": 200, "result": result}

        def refused(asked: dict[str, Any], refusal: Refusal) -> Event:
            error = {"code": refusal.code, "msg": refusal.message}
            return {"id": asked.get("id"), "status": refusal.status, "error": error}

        return await self._talk(request, inbox, due, answer, refused)

    def _signed(self, given: Mapping[Any, Any]) -> LocalExchange:
        """The account whose key signed a subscription. Raises Refusal."""
        params = {str(name): str(value) for name, value in given.items()}
        signed = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
        key = params.get("apiKey", "")
        if key not in self._accounts:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
        self._signing[key].check({KEY_HEADER: key}, f"{signed}&signature=", "", Params(params), wall_ms())
        return self._accounts[key]

    async def _talk(
        self,
        request: web.Request,
        inbox: _Inbox,
        due: _Due,
        answer: Callable[[dict[str, Any]], Event],
        refused: Callable[[dict[str, Any], Refusal], Event],
    ) -> web.StreamResponse:
        """Answer what is asked and tell what is due, until either side ends."""
        socket = web.WebSocketResponse(heartbeat=20)
        await socket.prepare(request)
        self._open.add(socket)
        telling = asyncio.create_task(_tell(socket, inbox, due))
        try:
            async for message in socket:
                asked = _read(message.data) if message.type is WSMsgType.TEXT else {}
                try:
                    said = answer(asked)
                except Refusal as refusal:
                    said = refused(asked, refusal)
                await socket.send_json(said)
        except SystemStateError as error:
            await _cut_off(socket, error)
        finally:
            self._open.discard(socket)
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
        return socket


async def _tell(socket: web.WebSocketResponse, inbox: _Inbox, due: _Due) -> None:
    """Tell what is due, until the socket is closed."""
    try:
        while not socket.closed:
            if inbox.exchanges:
                now = max(one.advance() for one in inbox.exchanges)
                for event in due(now, inbox.take()):
                    await socket.send_json(event)
            await asyncio.sleep(_PERIOD_SECONDS)
    except ConnectionError:
        pass  # the client is gone
    except SystemStateError as error:
        await _cut_off(socket, error)
    finally:
        inbox.listen()


async def _cut_off(socket: web.WebSocketResponse, why: SystemStateError) -> None:
    await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=str(why).encode()[:100])


def _read(text: str) -> dict[str, Any]:
    """A request; anything else is one without a method."""
    try:
        asked = json.loads(text)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}
