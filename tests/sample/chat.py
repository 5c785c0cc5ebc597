"""An OpenAI-compatible endpoint on 127.0.0.1: it answers, counts tokens, keeps its own bill, and fails as told.

A call costs its usage at `PER_INPUT` and `PER_OUTPUT`. It takes `latency_s` on the service's clock, which it moves.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from ftorch.core.clock import ManualClock

KEY = "sk-canary-5b1f0e7d2c"
MODEL = "acme-chat-small"
PER_INPUT, PER_OUTPUT = Decimal("0.0001"), Decimal("0.0004")


class Fault(StrEnum):
    """What can go wrong with a call, or be unusual about its answer. `value` says more for some of them."""

    DROP_BEFORE = "drop_before"
    """The connection ends; the call is not charged."""
    ERROR = "error"
    """500; not charged."""
    RATE_LIMITED = "rate_limited"
    """429 with `value` as its Retry-After, or none; not charged."""
    REFUSED_KEY = "refused_key"
    """401; the words repeat the key, as some services do. Not charged."""
    REJECT = "reject"
    """400; the words repeat the key. Not charged."""
    REDIRECT = "redirect"
    """307 to `value`; not charged."""
    DROP_AFTER = "drop_after"
    """Charged, and the connection ends without an answer."""
    UNAVAILABLE_AFTER = "unavailable_after"
    """Charged, and the answer is 503."""
    CUT = "cut"
    """Charged, and the connection ends after half of the body."""
    HALF = "half"
    """Charged, and half of the body comes as if it were all."""
    HTML = "html"
    """Charged, and the answer is 200 and a web page that repeats the key."""
    BODY = "body"
    """Charged, and the body is `value`."""


PAID = frozenset({Fault.DROP_AFTER, Fault.UNAVAILABLE_AFTER, Fault.CUT, Fault.HALF})
"""Faults that are charged and lose the answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way out. `sent` is how much of the body is sent: None for all of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class ChatService:
    """The endpoint on a port of its own. A context manager; threads may use it at once."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.key = KEY
        self.latency_s = 0.0
        self.answer: Callable[[str], str] = lambda prompt: f"answer to {prompt}"
        """What the model says to the last message."""
        self.change: Callable[[dict[str, Any]], object] = lambda completion: completion
        """What is done to a completion before it is sent."""
        self.bill = Decimal(0)
        """What all calls have cost, also those whose answer was lost."""
        self.asked: Counter[str] = Counter()
        """How often each prompt came in, whatever became of it."""
        self.bodies: list[Mapping[str, Any]] = []
        self.paths: list[str] = []
        self.most_at_once = 0
        self.together: threading.Barrier | None = None
        """Calls wait for each other here."""
        self.on_call: Callable[[int], None] = lambda number: None
        """Told the number of each call that comes in."""
        self._at_once = 0
        self._faults: deque[tuple[Fault | None, str]] = deque()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, fault: Fault | None, *, times: int = 1, value: str = "") -> None:
        """Let the next calls fail, after what was scripted before; None lets one pass."""
        with self._lock:
            self._faults += [(fault, value)] * times

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._faults.clear()

    def handle(self, path: str, key: str, body: bytes) -> Reply | None:
        """The reply; None: the connection ends without one."""
        self._come_in()
        try:
            if self.together is not None:
                self.together.wait(timeout=10)
            with self._lock:
                return self._reply(path, key, json.loads(body))
        finally:
            with self._lock:
                self._at_once -= 1

    def _come_in(self) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _reply(self, path: str, key: str, body: Mapping[str, Any]) -> Reply | None:
        self.paths.append(path)
        self.bodies.append(body)
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        self.on_call(self.asked.total())
        fault, value = self._faults.popleft() if self._faults else (None, "")
        if fault is Fault.DROP_BEFORE:
            return None
        if fault is not None and fault in _REFUSALS:
            return _REFUSALS[fault](key, value)
        return self._served(path, key, body, fault, value)

    def _served(self, path: str, key: str, body: Mapping[str, Any], fault: Fault | None, value: str) -> Reply | None:
        if key != self.key:
            return _error(401, "no such key")
        if path.partition("?")[0] != "/v1/chat/completions" or body["model"] != MODEL:
            return _error(404, f"The model {body['model']!r} does not exist")
        self.clock.advance(self.latency_s)
        reply = _json(self.change(self._completion(body)))
        return reply if fault is None else _SPOILED[fault](reply, key, value)

    def _completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        words = self.answer(body["messages"][-1]["content"]).split()
        read = sum(len(message["content"].split()) for message in body["messages"])
        written = min(len(words), body["max_tokens"])
        self.bill += PER_INPUT * read + PER_OUTPUT * written
        return {
            "id": f"chatcmpl-{len(self.bodies)}",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": " ".join(words[:written])},
                    "finish_reason": "stop" if written == len(words) else "length",
                }
            ],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, service: ChatService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one segment for headers and body
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        reply = self.server.service.handle(self.path, key, body)
        if reply is None:
            self._hang_up()
            return
        sent = len(reply.body) if reply.sent is None else reply.sent
        self.send_response_only(reply.status, HTTPStatus(reply.status).phrase)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("X-Request-Id", f"req-{len(self.server.service.bodies):06d}")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[:sent])
        self.wfile.flush()
        if sent < len(reply.body):
            self._hang_up()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
        """Says nothing."""

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _json(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def _error(status: int, words: str, **headers: str) -> Reply:
    return _json({"error": {"message": words, "type": "invalid_request_error"}}, status, **headers)


_REFUSALS: Mapping[Fault, Callable[[str, str], Reply]] = {
    Fault.ERROR: lambda _key, _value: _error(500, "the service stumbled"),
    Fault.RATE_LIMITED: lambda _key, value: _error(429, "slow down", **({"Retry-After": value} if value else {})),
    Fault.REFUSED_KEY: lambda key, _value: _error(401, f"Incorrect API key provided: {key}"),
    Fault.REJECT: lambda key, _value: _error(400, f"temperature is not supported for {key}"),
    Fault.REDIRECT: lambda _key, value: _error(307, "moved", Location=value),
}
"""Faults in whose place nothing is done."""

_SPOILED: Mapping[Fault, Callable[[Reply, str, str], Reply | None]] = {
    Fault.DROP_AFTER: lambda _reply, _key, _value: None,
    Fault.UNAVAILABLE_AFTER: lambda _reply, _key, _value: _error(503, "try again later"),
    Fault.CUT: lambda reply, _key, _value: Reply(200, reply.body, reply.headers, len(reply.body) // 2),
    Fault.HALF: lambda reply, _key, _value: Reply(200, reply.body[: len(reply.body) // 2], reply.headers),
    Fault.HTML: lambda _reply, key, _value: Reply(200, f"<html><body>Sign in, {key}</body></html>".encode()),
    Fault.BODY: lambda _reply, _key, value: Reply(200, value.encode()),
}
"""Faults that spoil the answer to a call that is charged."""
