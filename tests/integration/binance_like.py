"""A server that speaks as much of Binance as an order needs, and answers each route as a test scripts it."""

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from alina.domain.orders import Order, OrderSide, OrderType
from alina.exchange.ccxt_exchange import CcxtExchange

SYMBOL = "BTC/USDT"


def listed(base: str) -> dict[str, object]:
    return {
        "symbol": f"{base}USDT",
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "orderTypes": ["LIMIT", "MARKET", "STOP_LOSS_LIMIT"],
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": "0.01",
                "maxPrice": "1000000",
                "tickSize": "0.01000000",
            },
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001000"},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
        ],
    }


EXCHANGE_INFO = {"symbols": [listed("BTC"), listed("ETH")]}
ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "al-1",
    "transactTime": 1700000000000,
    "price": "100.10",
    "origQty": "0.50000000",
    "executedQty": "0.20000000",
    "cummulativeQuoteQty": "20.02000000",
    "status": "EXPIRED",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "BUY",
    "updateTime": 1700000000000,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "BinanceLike"

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = self.path.partition("?")[0].removeprefix("/api/v3/")
        self.server.seen[f"{self.command} {path}"] += 1
        self.server.bodies.append(self.body)
        answer = self.server.answers.get(f"{self.command} {path}")
        if answer:
            answer(self)
        elif path == "exchangeInfo":
            reply(self, 200, EXCHANGE_INFO)
        else:
            reply(self, 404, {"code": -1, "msg": f"nothing is scripted for {path}"})

    do_GET = do_POST = do_DELETE = handle_request

    def log_message(self, *_: object) -> None: ...


class BinanceLike(ThreadingHTTPServer):
    """Answers each route as scripted and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.seen: Counter[str] = Counter()
        self.bodies: list[str] = []
        self.released = threading.Event()


Server = TypeVar("Server", bound=BinanceLike)


def reply(
    handler: Handler, status: int, body: object, *, headers: dict[str, str] | None = None, cut: int = 0
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    handler.send_response(status)
    handler.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
    handler.send_header("Content-Length", str(len(text)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(text[: len(text) - cut].encode())
    if cut:
        handler.close_connection = True


def says(status: int, body: object, **more: object) -> Callable[[Handler], None]:
    return lambda handler: reply(handler, status, body, **more)


def refuses(code: int, message: str, status: int = 400) -> Callable[[Handler], None]:
    return says(status, {"code": code, "msg": message})


def drop(handler: Handler) -> None:
    handler.close_connection = True


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile  # nothing is left to flush


def hang(handler: Handler) -> None:
    handler.server.released.wait(30)
    handler.close_connection = True


def redirect(handler: Handler) -> None:
    reply(handler, 307, {}, headers={"Location": handler.path})


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def connect(
    server: BinanceLike, *, api_key: str | None = "key", timeout: float = 5, **more: Any
) -> CcxtExchange:
    api = f"http://127.0.0.1:{server.server_port}/api/v3"
    return CcxtExchange(
        "binance",
        api_key=api_key,
        secret="secret" if api_key else None,
        options={"urls": {"api": {"public": api, "private": api}}, "enableRateLimit": False},
        timeout=timedelta(seconds=timeout),
        **more,
    )


def limit_buy(quantity: str = "0.5", price: str = "100.10") -> Order:
    return Order(
        client_order_id="al-1",
        account="main",
        symbol=SYMBOL,
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=Decimal(price),
    )
