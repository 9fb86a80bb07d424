"""How a request meets a scripted fault: what it does, and what of it is told."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from aiohttp import web
from aiohttp.typedefs import Handler

from alina.venue.answers import refused
from alina.venue.faults import Fault, FaultKind
from alina.venue.local_exchange import LocalExchange
from alina.venue.refusal import Refusal

_PAGE = "<html><body>Please wait</body></html>"
#: closing with this option set sends RST instead of FIN
_RESET = struct.pack("ii", 1, 0)


async def meet(
    fault: Fault, request: web.Request, handler: Handler, exchange: LocalExchange
) -> web.StreamResponse:
    """Answer `request`, whose own answer `handler` would be, as the fault has it."""
    await request.read()  # now, for a client that leaves takes an unread body with it
    if not fault.kind.carries_out:
        return _refusals(fault)
    if fault.kind is FaultKind.DELAY:
        await asyncio.sleep(float(fault.seconds))
    is_partial = fault.kind is FaultKind.PARTIAL_FILL_THEN_DROP
    # The body is read, so the handler never waits: no other request sees this book.
    with exchange.thin_book() if is_partial else nullcontext():
        response = await handler(request)
    if isinstance(response, web.Response):
        _hide(fault, response, exchange)
        tell = _ENDINGS.get(fault.kind)
        return response if tell is None else await tell(fault, request, response)
    return response


def _refusals(fault: Fault) -> web.Response:
    match fault.kind:
        case FaultKind.TIMEOUT_BEFORE:
            return _timeout(fault)
        case FaultKind.HTML_200_BEFORE:
            return _page()
        case FaultKind.CLOCK_DRIFT:
            return refused(Refusal(-1021, "Timestamp for this request is outside of the recvWindow."))
        case FaultKind.TOO_MANY_REQUESTS:
            words = "Too much request weight used; please use WebSocket Streams for live updates."
            return refused(Refusal(-1003, words, status=fault.status or 429, retry_after=fault.retry_after))
        case FaultKind.BANNED:
            words = "Way too much request weight used; IP banned."
            return refused(Refusal(-1003, words, status=fault.status or 418, retry_after=fault.retry_after))
    return _error(fault)


def _hide(fault: Fault, response: web.Response, exchange: LocalExchange) -> None:
    """Hide the order that the request placed, where it placed one."""
    if not fault.hidden_seconds or response.status != 200:
        return
    answer = json.loads(response.text or "null")
    if isinstance(answer, dict) and "orderId" in answer:
        exchange.hide(answer["orderId"], float(fault.hidden_seconds))


def _timeout(fault: Fault) -> web.Response:
    words = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return refused(Refusal(-1007, words, status=fault.status or 408))


def _error(fault: Fault) -> web.Response:
    return web.Response(status=fault.status or 503, text="Service Unavailable")


def _page() -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _fin(_fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response  # the connection is gone: it reaches nobody


async def _rst(fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return await _fin(fault, request, response)


async def _hang(fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
    await asyncio.sleep(float(fault.seconds))
    return await _fin(fault, request, response)


async def _error_after(fault: Fault, _request: web.Request, _response: web.Response) -> web.StreamResponse:
    return _error(fault)


async def _timeout_after(fault: Fault, _request: web.Request, _response: web.Response) -> web.StreamResponse:
    return _timeout(fault)


async def _page_after(_fault: Fault, _request: web.Request, _response: web.Response) -> web.StreamResponse:
    return _page()


async def _truncate(_fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
    body = (response.text or "").encode()
    response.headers["Content-Length"] = str(len(body))
    if request.transport is not None:
        request.transport.write(_head(response) + body[: len(body) // 2])
        request.transport.close()
    return response


async def _twice(_fault: Fault, request: web.Request, response: web.Response) -> web.StreamResponse:
    body = (response.text or "").encode()
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.write(_head(response) + body)
    return response


def _head(response: web.Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


_ENDINGS: dict[FaultKind, Callable[[Fault, web.Request, web.Response], Awaitable[web.StreamResponse]]] = {
    FaultKind.ACCEPT_THEN_FIN: _fin,
    FaultKind.ACCEPT_THEN_RST: _rst,
    FaultKind.ACCEPT_THEN_HANG: _hang,
    FaultKind.ERROR_AFTER: _error_after,
    FaultKind.TIMEOUT_AFTER: _timeout_after,
    FaultKind.TRUNCATED_BODY: _truncate,
    FaultKind.HTML_200: _page_after,
    FaultKind.DUPLICATED_RESPONSE: _twice,
    FaultKind.PARTIAL_FILL_THEN_DROP: _fin,
}
