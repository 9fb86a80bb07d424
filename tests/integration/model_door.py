"""A provider on this machine: speaks both protocols, answers from a script, and fails as it is told."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from alina.domain.runs import CompletionRequest, Message
from alina.llm.scripted import ScriptedModel

SCRIPT = b"""\
{"action": "hold", "confidence": 40, "rationale": "nothing to gain"}
{"action": "buy", "confidence": 70, "rationale": "a steady rise"}
"""
#: characters of a token of the scripted model
_TOKEN = 4

Play = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request and the means to answer it, well or badly."""

    handler: BaseHTTPRequestHandler
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    stopped: Event

    @property
    def is_anthropic(self) -> bool:
        return self.path.endswith("/messages")

    def status(self, code: int, body: Any, **headers: str) -> None:
        data = (json.dumps(body) if not isinstance(body, str) else body).encode()
        self.handler.send_response(code)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def begin(self, content_type: str = "text/event-stream") -> None:
        """The head of a stream whose end is told by chunks: a closed connection is no end."""
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", content_type)
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()

    def raw(self, data: bytes) -> None:
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.handler.wfile.flush()

    def event(self, data: Any) -> None:
        name = f"event: {data['type']}\n" if self.is_anthropic else ""
        self.raw(f"{name}data: {json.dumps(data)}\n\n".encode())

    def end(self) -> None:
        if not self.is_anthropic:
            self.raw(b"data: [DONE]\n\n")
        self.handler.wfile.write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """Reset the connection."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()

    def hang(self) -> None:
        """Say nothing until the door closes."""
        self.stopped.wait(60)

    def events(self) -> list[Any]:
        """A whole good answer of the scripted model, one event a token."""
        model = ScriptedModel("script", SCRIPT, context_length=10**6, threads=1)
        answer = model.complete(
            CompletionRequest(
                messages=tuple(Message(m["role"], m["content"]) for m in self.body["messages"]),
                json_schema=None,
                max_tokens=self.body.get("max_tokens") or self.body["max_completion_tokens"],
                temperature=Decimal(0),
                seed=self.body.get("seed", 0),
                deadline_seconds=Decimal(1),
            )
        )
        tokens = [answer.text[i : i + _TOKEN] for i in range(0, len(answer.text), _TOKEN)]
        if self.is_anthropic:
            return _anthropic(tokens, answer.prompt_tokens, answer.finish_reason, "tools" in self.body)
        return _openai(tokens, answer.prompt_tokens, answer.finish_reason, "tools" in self.body)

    def answer(self) -> None:
        self.begin()
        for event in self.events():
            self.event(event)
        self.end()


def _openai(tokens: list[str], prompt_tokens: int, finish: str, is_tool: bool) -> list[Any]:
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
    base["system_fingerprint"] = "fp_1"

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    def delta(text: str) -> dict[str, Any]:
        return (
            {"tool_calls": [{"index": 0, "function": {"arguments": text}}]} if is_tool else {"content": text}
        )

    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(tokens), "total_tokens": 0}
    return [
        chunk({"role": "assistant", "content": "" if not is_tool else None}),
        *(chunk(delta(token)) for token in tokens),
        chunk({}, "tool_calls" if is_tool and finish == "stop" else finish),
        {**base, "choices": [], "usage": usage},
    ]


def _anthropic(tokens: list[str], prompt_tokens: int, finish: str, is_tool: bool) -> list[Any]:
    message = {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": "m-2026"}
    usage = {"input_tokens": prompt_tokens, "output_tokens": 0}
    reason = {"stop": "tool_use" if is_tool else "end_turn", "length": "max_tokens"}[finish]

    def delta(text: str) -> dict[str, Any]:
        if is_tool:
            return {"type": "input_json_delta", "partial_json": text}
        return {"type": "text_delta", "text": text}

    return [
        {"type": "message_start", "message": {**message, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta(token)} for token in tokens),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": len(tokens)}},
        {"type": "message_stop"},
    ]


@dataclass
class ModelDoor:
    """The running door: `plays` answers each request, `asked` keeps them all."""

    address: str
    plays: Play = Exchange.answer
    asked: list[Exchange] = field(default_factory=list)


@contextmanager
def model_door(plays: Play = Exchange.answer) -> Iterator[ModelDoor]:
    """A door on loopback, closed at the end with whatever still hangs in it."""
    stopped = Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(self, self.path, headers, body, stopped)
            door.asked.append(exchange)
            self.close_connection = True
            with suppress(OSError):  # the client did not wait
                door.plays(exchange)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # of a connection that was reset on purpose

    server = Server(("127.0.0.1", 0), Handler)
    door = ModelDoor(f"http://127.0.0.1:{server.server_port}", plays)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield door
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
