"""How a request meets a scripted fault: what it does, and what of it is told."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.typedefs import Handler

from alina.venue.faults import Fault, FaultKind
from alina.venue.kraken_names import number_of
from alina.venue.local_exchange import LocalExchange
from alina.venue.refusal import Refusal

#: closing with this option set sends RST instead of FIN
_RESET = struct.pack("ii", 1, 0)
#: connection -> the copy of an answer that its next request gets instead of its own
LATE = web.AppKey("LATE", WeakKeyDictionary[asyncio.Transport, bytes])
#: how the dialect answers a refusal
REFUSED: web.AppKey[Callable[[Refusal], web.Response]] = web.AppKey("REFUSED")


def deliver_late(request: web.Request) -> None:
    """Send the copy that is due on this request's connection, before anything of its own."""
    if request.transport is not None:
        request.transport.write(request.app[LATE].pop(request.transport, b""))


async def meet(
    fault: Fault, request: web.Request, handler: Handler, exchange: LocalExchange
) -> web.StreamResponse:
    """Answer `request`, whose own answer `handler` would be, as the fault has it."""
    await request.read()  # now, for a client that leaves takes an unread body with it
    if not fault.kind.carries_out:
        return _instead(fault, request)
    own = await _carry_out(fault, request, handler, exchange)
    if fault.kind in _ON_THE_WIRE and isinstance(own, web.Response):
        await _ON_THE_WIRE[fault.kind](fault, request, own)
    return _instead(fault, request) if fault.kind in _INSTEAD else own


def _instead(fault: Fault, request: web.Request) -> web.Response:
    answer = _INSTEAD[fault.kind](fault)
    return request.app[REFUSED](answer) if isinstance(answer, Refusal) else answer


async def _carry_out(
    fault: Fault, request: web.Request, handler: Handler, exchange: LocalExchange
) -> web.StreamResponse:
    if fault.kind is FaultKind.DELAY:
        await asyncio.sleep(float(fault.seconds))
    is_partial = fault.kind is FaultKind.PARTIAL_FILL_THEN_DROP
    # The body is read, so the handler never waits: no other request sees this book.
    with exchange.thin_book() if is_partial else nullcontext():
        response = await handler(request)
    if fault.hidden_seconds and isinstance(response, web.Response) and response.status == 200:
        _hide_order(fault, json.loads(response.text or "null"), exchange)
    return response


def _hide_order(fault: Fault, answer: Any, exchange: LocalExchange) -> None:
    order_id = _order_id(answer)
    if order_id is not None:
        only_trades = fault.kind is FaultKind.DELAYED_TRADES
        exchange.hide(order_id, float(fault.hidden_seconds), only_trades=only_trades)


def _order_id(answer: Any) -> int | None:
    """Of the order that was placed, in either dialect."""
    match answer:
        case {"orderId": int(order_id)}:
            return order_id
        case {"result": {"txid": [str(txid)]}}:
            return number_of(txid)
    return None


def _error(fault: Fault) -> web.Response:
    return web.Response(status=fault.status or 503, text="Service Unavailable")


def _timeout(fault: Fault) -> Refusal:
    words = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return Refusal(-1007, words, status=fault.status or 408)


def _page(_fault: Fault) -> web.Response:
    return web.Response(text="<html><body>Please wait</body></html>", content_type="text/html")


def _too_many_requests(fault: Fault) -> Refusal:
    words = "Too much request weight used. Please use WebSocket Streams to avoid polling the API."
    return Refusal(-1003, words, status=fault.status or 429, retry_after=fault.retry_after)


def _banned(fault: Fault) -> Refusal:
    words = "Way too much request weight used; IP banned."
    return Refusal(-1003, words, status=fault.status or 418, retry_after=fault.retry_after)


def _clock_drift(_fault: Fault) -> Refusal:
    return Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


#: the answer that comes instead of the request's own
_INSTEAD: dict[FaultKind, Callable[[Fault], web.Response | Refusal]] = {
    FaultKind.ERROR_AFTER: _error,
    FaultKind.ERROR_BEFORE: _error,
    FaultKind.TIMEOUT_AFTER: _timeout,
    FaultKind.TIMEOUT_BEFORE: _timeout,
    FaultKind.HTML_200: _page,
    FaultKind.HTML_200_BEFORE: _page,
    FaultKind.TOO_MANY_REQUESTS: _too_many_requests,
    FaultKind.BANNED: _banned,
    FaultKind.CLOCK_DRIFT: _clock_drift,
}


async def _fin(_fault: Fault, request: web.Request, _response: web.Response) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _rst(fault: Fault, request: web.Request, response: web.Response) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    await _fin(fault, request, response)


async def _hang(fault: Fault, request: web.Request, response: web.Response) -> None:
    await asyncio.sleep(float(fault.seconds))
    await _fin(fault, request, response)


async def _truncate(_fault: Fault, request: web.Request, response: web.Response) -> None:
    body = (response.text or "").encode()
    response.headers["Content-Length"] = str(len(body))
    if request.transport is not None:
        request.transport.write(_head(response) + body[: len(body) // 2])
        request.transport.close()


async def _twice(_fault: Fault, request: web.Request, response: web.Response) -> None:
    """Held back until both copies are there: whether a client sees the second is no matter of time."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    await _answer(request, response)
    request.transport.write(_whole(response))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


async def _twice_late(_fault: Fault, request: web.Request, response: web.Response) -> None:
    await _answer(request, response)
    if request.transport is not None:
        request.app[LATE][request.transport] = _whole(response)


async def _answer(request: web.Request, response: web.Response) -> None:
    await response.prepare(request)
    await response.write_eof()


def _whole(response: web.Response) -> bytes:
    return _head(response) + (response.text or "").encode()


def _head(response: web.Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


#: what is done to the connection before the answer is handed to it; one that is closed takes none
_ON_THE_WIRE: dict[FaultKind, Callable[[Fault, web.Request, web.Response], Awaitable[None]]] = {
    FaultKind.ACCEPT_THEN_FIN: _fin,
    FaultKind.ACCEPT_THEN_RST: _rst,
    FaultKind.ACCEPT_THEN_HANG: _hang,
    FaultKind.TRUNCATED_BODY: _truncate,
    FaultKind.DUPLICATED_RESPONSE: _twice,
    FaultKind.LATE_DUPLICATE: _twice_late,
    FaultKind.PARTIAL_FILL_THEN_DROP: _fin,
}
