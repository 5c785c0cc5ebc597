"""What all emulators share: HTTP on 127.0.0.1, a script of faults for each route, counters, and control from outside.

An emulator names its routes and answers requests one at a time, under a lock; whatever it refuses it raises as
`RefusedError`. Three routes are for whoever runs it, and need no key:

    GET  /_emulator           {"now": ..., "requests": {route: count}, "bytes_sent": {route: count}}
    POST /_emulator/clock     {"advance_s": 3600}
    POST /_emulator/faults    {"route": "POST /runs", "fault": "drop_after", "times": 1, "value": ""}; {} clears them
"""

from __future__ import annotations

import json
import socket
import threading
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from ftorch.core.clock import Clock, rfc3339

CONTROL = "_emulator"


class MovableClock(Clock, Protocol):
    """A clock that can be moved forward."""

    def advance(self, seconds: float) -> None: ...


class Fault(StrEnum):
    """What can go wrong with a request. `value` is a number or a text for some of them."""

    NONE = "none"
    DROP_BEFORE = "drop_before"
    """The connection ends before anything was done."""
    DROP_AFTER = "drop_after"
    """The work is done, and the connection ends without an answer."""
    UNAVAILABLE_AFTER = "unavailable_after"
    """The work is done, the answer is 503."""
    SLOW = "slow"
    """The work is done, the answer comes `value` seconds later."""
    GARBAGE = "garbage"
    """The work is done, the answer is 200 and a web page."""
    RATE_LIMITED = "rate_limited"
    """429, with `value` as its Retry-After."""
    ERROR = "error"
    """500, nothing is done."""
    REFUSED_KEY = "refused_key"
    """401; the words repeat the key, as some services do."""
    REJECT = "reject"
    """A refusal whose words repeat what was asked for."""
    NO_CAPACITY = "no_capacity"
    NO_FUNDS = "no_funds"
    """402."""
    UNKNOWN_STATUS = "unknown_status"
    """Every run in the answer has a status that nobody ever documented."""
    SHUFFLED = "shuffled"
    """Every list in the answer is in another order."""
    CUT = "cut"
    """The connection ends after half of the body."""
    DAMAGED = "damaged"
    """One bit of the body is not what it was."""
    NO_RANGE = "no_range"
    """Range is not understood: the whole file comes."""
    BAD_RANGE = "bad_range"
    """416, whatever was asked for."""


@dataclass(slots=True)
class Script:
    """A fault and how often it happens; `times=None`: until it is cleared."""

    fault: Fault
    times: int | None = 1
    value: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in, its route named with `{id}` for what varies. Names of headers are in lower case."""

    route: str
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """All values of each name in the query; `query` has the last ones."""

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way out. `sent` is how much of the body is sent: None for all of it."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class RefusedError(Exception):
    """The service says no: an HTTP status, a code and words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Moment(StrEnum):
    """When the watcher of an emulator is told of a request."""

    ASKED = "asked"
    """It came in; nothing is done yet."""
    DONE = "done"
    """The work is done; no byte of the answer has left."""


Instead = Callable[[Request, str], Reply | None]
After = Callable[[Reply], Reply | None]


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def in_ranges(content: bytes, asked: str | None, headers: Mapping[str, str] | None = None) -> Reply:
    """The content, or the part of it that a `Range: bytes=a-[b]` asks for; 416 behind its end."""
    if not asked:
        return Reply(200, content, headers or {})
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(content)), len(content) - 1)
    if start >= len(content):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    part = content[start : end + 1]
    return Reply(206, part, {**(headers or {}), "Content-Range": f"bytes {start}-{end}/{len(content)}"})


class Emulator(ABC):
    """A service on a port of its own. A context manager; threads may use it at once."""

    name: ClassVar[str]
    request_id_header: ClassVar[str] = "X-Request-Id"
    instead: ClassVar[Mapping[Fault, Instead]] = {}
    """Faults of this service in whose place nothing is done."""
    after: ClassVar[Mapping[Fault, After]] = {}
    """Faults of this service that spoil the answer to work that was done."""

    def __init__(self, clock: MovableClock, *, port: int = 0) -> None:
        self.clock = clock
        self.requests: Counter[str] = Counter()
        """How often each route was asked."""
        self.bytes_sent: Counter[str] = Counter()
        """Bytes of body by route."""
        self.trace: deque[str] = deque(maxlen=10_000)
        """The routes in the order in which they were asked, the newest ones."""
        self.watch: Callable[[Moment, int, Request], None] = lambda _moment, _number, _request: None
        """Told of each request with its number, from 1 on; it may kill whoever asks."""
        self.stopping = threading.Event()
        self._scripts: defaultdict[str, deque[Script]] = defaultdict(deque)
        self._numbered: dict[int, Script] = {}
        self._lock = threading.RLock()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @abstractmethod
    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:
        """The name of a route: its method and its path, with `{id}` for what varies."""

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """Do the work. Raises RefusedError, or KeyError and ValueError for a body that nobody can read."""

    @abstractmethod
    def refusal(self, status: int, code: str, message: str) -> Reply:
        """A refusal in the service's own shape."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def variables(self) -> Mapping[str, str]:
        """What a shell sets so that clients of the real service talk to this one."""
        return {}

    def script(self, route: str, fault: Fault, *, times: int | None = 1, value: str = "") -> None:
        """Let a route fail `times` times, after what was scripted for it before; None: from then on always."""
        with self._lock:
            self._scripts[route].append(Script(fault, times, value))

    def script_number(self, number: int, fault: Fault, *, value: str = "") -> None:
        """Let the request of this number fail, whatever its route."""
        with self._lock:
            self._numbered[number] = Script(fault, 1, value)

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._scripts.clear()
            self._numbered.clear()

    def handle(self, request: Request) -> tuple[Reply | None, float]:
        """The answer and the seconds to wait before it is sent; no answer: the connection ends."""
        with self._lock:
            if request.parts[:1] == (CONTROL,):
                return self._controlled(request), 0
            self.requests[request.route] += 1
            self.trace.append(request.route)
            number = self.requests.total()
            self.watch(Moment.ASKED, number, request)
            script = self._numbered.pop(number, None) or self._next(request.route) or Script(Fault.NONE)
            reply = self._spoiled(request, script)
            self.watch(Moment.DONE, number, request)
            if reply is not None:
                self.bytes_sent[request.route] += len(reply.body) if reply.sent is None else reply.sent
        return reply, float(script.value or 1) if script.fault is Fault.SLOW else 0

    def _spoiled(self, request: Request, script: Script) -> Reply | None:
        instead, after = {**self._instead, **self.instead}, {**_AFTER, **self.after}
        if script.fault in instead:
            return instead[script.fault](request, script.value)
        if script.fault is Fault.NO_RANGE:
            request = replace(request, headers={**request.headers, "range": ""})
        reply = self._reply(request)
        return after[script.fault](reply) if script.fault in after else reply

    def _next(self, route: str) -> Script | None:
        scripts = self._scripts[route]
        if not scripts:
            return None
        script = scripts[0]
        if script.times is not None:
            script.times -= 1
            if script.times == 0:
                scripts.popleft()
        return script

    def _reply(self, request: Request) -> Reply:
        try:
            return self.answer(request)
        except RefusedError as refused:
            return self.refusal(refused.status, refused.code, refused.message)
        except (KeyError, ValueError) as error:
            return self.refusal(422, "invalid", f"missing or unknown: {error}")

    def _controlled(self, request: Request) -> Reply:
        match request.route.partition(" ")[0], request.parts[1:]:
            case "POST", ("clock",):
                self.clock.advance(float(json.loads(request.body)["advance_s"]))
            case "POST", ("faults",):
                asked = json.loads(request.body)
                self.script(**{**asked, "fault": Fault(asked["fault"])}) if asked else self.clear()
            case _:
                pass
        return json_reply({"now": rfc3339(self.clock.now()), "requests": self.requests, "bytes_sent": self.bytes_sent})

    @property
    def _instead(self) -> Mapping[Fault, Instead]:
        return {
            Fault.DROP_BEFORE: lambda _request, _value: None,
            Fault.ERROR: lambda _request, _value: self.refusal(500, "internal", f"{self.name} stumbled"),
            Fault.NO_FUNDS: lambda _request, _value: self.refusal(402, "no_funds", "the credit is used up"),
            Fault.RATE_LIMITED: lambda _request, value: replace(
                self.refusal(429, "too_many_requests", "slow down"), headers={"Retry-After": value} if value else {}
            ),
            Fault.REFUSED_KEY: lambda request, _value: self.refusal(
                401, "bad_key", f"the key {request.key!r} is not valid"
            ),
            Fault.BAD_RANGE: lambda _request, _value: self.refusal(416, "bad_range", "no such bytes"),
            Fault.UNAVAILABLE_AFTER: self._unavailable_after,
        }

    def _unavailable_after(self, request: Request, _value: str) -> Reply:
        self._reply(request)
        return self.refusal(503, "unavailable", "try again later")


_AFTER: Mapping[Fault, After] = {
    Fault.DROP_AFTER: lambda _reply: None,
    Fault.GARBAGE: lambda _reply: Reply(200, b"<html><body>Bad gateway</body></html>"),
    Fault.CUT: lambda reply: replace(reply, sent=len(reply.body) // 2),
    Fault.DAMAGED: lambda reply: replace(reply, body=reply.body[:-1] + bytes([reply.body[-1] ^ 1])),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, emulator: Emulator, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.emulator = emulator

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one segment for headers and body
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_GET  # noqa: N815  the base class looks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
        """Says nothing."""

    def _serve(self) -> None:
        emulator = self.server.emulator
        reply, wait_s = emulator.handle(self._request())
        if wait_s:
            emulator.stopping.wait(wait_s)
        if reply is None:
            self._hang_up()
            return
        sent = len(reply.body) if reply.sent is None else reply.sent
        self.send_response_only(reply.status, HTTPStatus(reply.status).phrase)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header(emulator.request_id_header, f"req-{emulator.requests.total():06d}")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[:sent])
        self.wfile.flush()
        if sent < len(reply.body):
            self._hang_up()

    def _request(self) -> Request:
        url = urlsplit(self.path)
        parts = tuple(unquote(part) for part in url.path.strip("/").split("/"))
        pairs = parse_qsl(url.query, keep_blank_values=True)
        query, repeated = dict(pairs), {name: tuple(two for one, two in pairs if one == name) for name, _ in pairs}
        headers = {name.lower(): value for name, value in self.headers.items()}
        route = f"{self.command} {CONTROL}"
        if parts[0] != CONTROL:
            route = self.server.emulator.route(self.command, parts, query)
        return Request(route, parts, query, headers, self._body(), repeated)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _hang_up(self) -> None:
        # A plain close leaves the socket open while the handler lives, and the client would wait for its time-out.
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def error_with(status: int, code: str, message: str, **more: Any) -> Reply:
    """The usual shape of a refusal: `{"error": {"code", "message"}}`."""
    return json_reply({"error": {"code": code, "message": message, **more}}, status)
