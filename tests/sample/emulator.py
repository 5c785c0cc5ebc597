"""acme on 127.0.0.1: the sample service behind real HTTP, with a script of faults for each route.

POST   /runs                        make a run; the same body again makes a second one
GET    /runs?after=&limit=&tag=     pages, oldest first; with a tag, only the runs that carry it
GET    /runs/{id}
POST   /runs/{id}/cancel
DELETE /runs/{id}                   give back what the run holds
GET    /runs/{id}/log?offset=
GET    /runs/{id}/artifact/{file}   understands Range
POST   /uploads                     declare content by its SHA-256; asked again, tells how far it is
PUT    /uploads/{sha256}            send it
GET    /machines   GET /account     GET /bill?start=&end=&after=&limit=
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from ftorch.core.clock import Clock, parse_rfc3339, rfc3339
from sample.service import LOG_PAGE, MACHINES, RefusedError, Row, Service

KEY = "acme-key-4f1c09"
OTHER_KEY = "acme-key-of-another-account"
_ACCOUNTS = {KEY: "org-tiny", OTHER_KEY: "org-other"}


class Fault(StrEnum):
    """What can go wrong with a request. `Script.value` is a number or a text for some of them."""

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
    """422; the words repeat the run's tag and its environment."""
    NO_CAPACITY = "no_capacity"
    UNKNOWN_STATUS = "unknown_status"
    """Every run in the answer has a status that nobody ever documented."""
    CUT = "cut"
    """The connection ends after half of the body."""
    DAMAGED = "damaged"
    """One bit of the body is not what it was."""
    NO_RANGE = "no_range"
    """Range is not understood: the whole file comes."""


@dataclass(slots=True)
class Script:
    """A fault and how often it happens; `times=None`: until it is cleared."""

    fault: Fault
    times: int | None = 1
    value: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in, its route named with `{id}` for what varies."""

    route: str
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def account(self) -> str:
        return _ACCOUNTS[self.key]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way out. `sent` is how much of the body is sent: None for all of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class AcmeEmulator:
    """The service on a port of its own. A context manager; threads may use it at once."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.service = Service(clock, _ACCOUNTS)
        self.requests: Counter[str] = Counter()
        """How often each route was asked, such as `GET /runs/{id}`; a search by tag counts as `GET /runs?tag`."""
        self.bytes_sent: Counter[str] = Counter()
        """Bytes of body by route."""
        self._scripts: defaultdict[str, deque[Script]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

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

    def script(self, route: str, fault: Fault, *, times: int | None = 1, value: str = "") -> None:
        """Let a route fail `times` times, after what was scripted for it before; None: from then on always."""
        with self._lock:
            self._scripts[route].append(Script(fault, times, value))

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._scripts.clear()

    def handle(self, request: Request) -> tuple[Reply | None, float]:
        """The answer and the seconds to wait before it is sent; no answer: the connection ends."""
        with self._lock:
            self.requests[request.route] += 1
            script = self._next(request.route) or Script(Fault.NONE)
            reply = self._spoiled(request, script)
            if reply is not None:
                self.bytes_sent[request.route] += len(reply.body) if reply.sent is None else reply.sent
        return reply, float(script.value or 1) if script.fault is Fault.SLOW else 0

    def _spoiled(self, request: Request, script: Script) -> Reply | None:
        if script.fault in _INSTEAD:
            return _INSTEAD[script.fault](request, script.value)
        if script.fault is Fault.NO_RANGE:
            request = replace(request, headers={**request.headers, "range": ""})
        reply = self._reply(request)
        return _AFTER[script.fault](reply) if script.fault in _AFTER else reply

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
            if request.route not in _ROUTES:
                raise RefusedError(404, "no_route", f"acme has no {request.route}")
            if request.key not in _ACCOUNTS:
                raise RefusedError(401, "bad_key", "no such key")
            return _ROUTES[request.route](self.service, request)
        except RefusedError as refused:
            return _error(refused.status, refused.code, refused.message)
        except KeyError as error:
            return _error(422, "invalid", f"missing or unknown: {error}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, emulator: AcmeEmulator) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
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

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  the base class looks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
        """Says nothing."""

    def _serve(self) -> None:
        emulator = self.server.emulator
        request = self._request()
        reply, wait_s = emulator.handle(request)
        if wait_s:
            emulator.stopping.wait(wait_s)
        if reply is None:
            self._hang_up()
            return
        sent = len(reply.body) if reply.sent is None else reply.sent
        self.send_response_only(reply.status, HTTPStatus(reply.status).phrase)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("X-Request-Id", f"req-{emulator.requests.total():06d}")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[:sent])
        self.wfile.flush()
        if sent < len(reply.body):
            self._hang_up()

    def _request(self) -> Request:
        url = urlsplit(self.path)
        parts = tuple(url.path.strip("/").split("/"))
        query = dict(parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(_route(self.command, parts, query), parts, query, headers, body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _route(method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:
    match parts:
        case ("runs",) if "tag" in query:
            path = "/runs?tag"
        case ("runs", _):
            path = "/runs/{id}"
        case ("runs", _, "artifact", file):
            path = f"/runs/{{id}}/artifact/{file if file == 'result.json' else '{file}'}"
        case ("runs", _, verb):
            path = f"/runs/{{id}}/{verb}"
        case ("uploads", _):
            path = "/uploads/{sha256}"
        case _:
            path = "/" + "/".join(parts)
    return f"{method} {path}"


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _error(status: int, code: str, message: str) -> Reply:
    return _json({"error": {"code": code, "message": message}}, status)


def _rejected(order: Mapping[str, Any]) -> Reply:
    return _error(422, "invalid", f"run {order['tag']} cannot be made with {order['env']}")


def _declare(service: Service, request: Request) -> Reply:
    sha256 = json.loads(request.body)["sha256"]
    return _json({"sha256": sha256, "status": service.declare(sha256)})


def _receive(service: Service, request: Request) -> Reply:
    sha256 = request.parts[1]
    return _json({"sha256": sha256, "status": service.receive(sha256, request.body)})


def _create(service: Service, request: Request) -> Reply:
    run = service.create(request.account, json.loads(request.body))
    return _json(service.run_view(run), 201)


def _list(service: Service, request: Request) -> Reply:
    query = request.query
    limit = int(query.get("limit", "100"))
    runs, after = service.page(request.account, after=query.get("after"), limit=limit, tag=query.get("tag"))
    return _json({"runs": [service.run_view(run) for run in runs], "next": after})


def _get(service: Service, request: Request) -> Reply:
    return _json(service.run_view(service.run(request.account, request.parts[1])))


def _cancel(service: Service, request: Request) -> Reply:
    run = service.run(request.account, request.parts[1])
    service.end(run, "cancelled", message="cancelled by its owner")
    return _json(service.run_view(run))


def _delete(service: Service, request: Request) -> Reply:
    run = service.run(request.account, request.parts[1])
    service.release(run)
    return _json(service.run_view(run))


def _log(service: Service, request: Request) -> Reply:
    run = service.run(request.account, request.parts[1])
    lines, first = service.log(run), int(request.query.get("offset", "0"))
    last = first + LOG_PAGE
    is_over = service.clock.now() >= run.ending.at and last >= len(lines)
    return _json({"lines": lines[first:last], "next": min(last, len(lines)), "complete": is_over})


def _artifact(service: Service, request: Request) -> Reply:
    content = service.artifact(service.run(request.account, request.parts[1]), request.parts[3])
    asked = request.headers.get("range")
    if not asked:
        return Reply(200, content)
    first = int(asked.removeprefix("bytes=").removesuffix("-"))
    if first >= len(content):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Reply(206, content[first:], {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"})


def _machines(service: Service, request: Request) -> Reply:
    return _json(
        {"machines": [{"name": one.name, "gpu": one.gpu, "usd_per_hour": str(one.usd_per_hour)} for one in MACHINES]}
    )


def _account(service: Service, request: Request) -> Reply:
    return _json({"id": request.account, "name": f"the account {request.account}"})


def _bill(service: Service, request: Request) -> Reply:
    query = request.query
    rows = service.bill(request.account, parse_rfc3339(query["start"]), parse_rfc3339(query["end"]))
    ids = [row.id for row in rows]
    first = ids.index(query["after"]) + 1 if "after" in query else 0
    last = first + int(query.get("limit", "100"))
    return _json({"rows": [_row_view(row) for row in rows[first:last]], "next": ids[last - 1] if ids[last:] else None})


def _row_view(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "start": rfc3339(row.start),
        "end": rfc3339(row.end),
        "usd": str(row.usd),
        "quantity": str(row.quantity),
        "unit": row.unit,
        "usd_per_unit": None if row.usd_per_unit is None else str(row.usd_per_unit),
        "as_of": rfc3339(row.as_of),
        "description": row.description,
        "tag": row.tag,
    }


_ROUTES: Mapping[str, Callable[[Service, Request], Reply]] = {
    "POST /uploads": _declare,
    "PUT /uploads/{sha256}": _receive,
    "POST /runs": _create,
    "GET /runs": _list,
    "GET /runs?tag": _list,
    "GET /runs/{id}": _get,
    "POST /runs/{id}/cancel": _cancel,
    "DELETE /runs/{id}": _delete,
    "GET /runs/{id}/log": _log,
    "GET /runs/{id}/artifact/result.json": _artifact,
    "GET /runs/{id}/artifact/{file}": _artifact,
    "GET /machines": _machines,
    "GET /account": _account,
    "GET /bill": _bill,
}

_INSTEAD: Mapping[Fault, Callable[[Request, str], Reply | None]] = {
    Fault.DROP_BEFORE: lambda _request, _value: None,
    Fault.ERROR: lambda _request, _value: _error(500, "internal", "acme stumbled"),
    Fault.NO_CAPACITY: lambda _request, _value: _error(503, "no_capacity", "no machine of this type is free"),
    Fault.RATE_LIMITED: lambda _request, value: replace(
        _error(429, "too_many_requests", "slow down"), headers={"Retry-After": value} if value else {}
    ),
    Fault.REFUSED_KEY: lambda request, _value: _error(401, "bad_key", f"the key {request.key!r} is not valid"),
    Fault.REJECT: lambda request, _value: _rejected(json.loads(request.body)),
}
"""Faults in whose place nothing is done."""

_AFTER: Mapping[Fault, Callable[[Reply], Reply | None]] = {
    Fault.DROP_AFTER: lambda _reply: None,
    Fault.UNAVAILABLE_AFTER: lambda _reply: _error(503, "unavailable", "try again later"),
    Fault.GARBAGE: lambda _reply: Reply(200, b"<html><body>Bad gateway</body></html>"),
    Fault.UNKNOWN_STATUS: lambda reply: replace(reply, body=_with_unknown_status(reply.body)),
    Fault.CUT: lambda reply: replace(reply, sent=len(reply.body) // 2),
    Fault.DAMAGED: lambda reply: replace(reply, body=reply.body[:-1] + bytes([reply.body[-1] ^ 1])),
}
"""Faults that spoil the answer to work that was done."""


def _with_unknown_status(body: bytes) -> bytes:
    value = json.loads(body)
    for run in value.get("runs", [value]):
        run["status"] = "defragmenting"
    return json.dumps(value).encode()
