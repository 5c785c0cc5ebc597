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
DELETE /uploads/{sha256}            GET /uploads?after=&limit=   pages of what the account has sent
GET    /machines   GET /account     GET /bill?start=&end=&after=&limit=
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ftorch.core.clock import parse_rfc3339, rfc3339
from ftorch.emulators.server import (
    After,
    Emulator,
    Fault,
    Instead,
    MovableClock,
    RefusedError,
    Reply,
    Request,
    error_with,
    in_ranges,
    json_reply,
)
from sample.service import LOG_PAGE, MACHINES, Row, Service

KEY = "acme-key-4f1c09"
OTHER_KEY = "acme-key-of-another-account"
_ACCOUNTS = {KEY: "org-tiny", OTHER_KEY: "org-other"}


def _with_unknown_status(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    for run in value.get("runs", [value]):
        run["status"] = "defragmenting"
    return replace(reply, body=json.dumps(value).encode())


def _shuffled(reply: Reply) -> Reply:
    """Newest first; where the next page begins stays as it is."""
    value = json.loads(reply.body)
    return replace(reply, body=json.dumps({**value, "runs": value["runs"][::-1]}).encode())


def _rejected(request: Request, _value: str) -> Reply:
    order = json.loads(request.body)
    return error_with(422, "invalid", f"run {order['tag']} cannot be made with {order['env']}")


class AcmeEmulator(Emulator):
    """The service on a port of its own."""

    name = "acme"
    instead: ClassVar[Mapping[Fault, Instead]] = {
        Fault.REJECT: _rejected,
        Fault.NO_CAPACITY: lambda _request, _value: error_with(503, "no_capacity", "no machine of this type is free"),
    }
    after: ClassVar[Mapping[Fault, After]] = {
        Fault.UNKNOWN_STATUS: _with_unknown_status,
        Fault.SHUFFLED: _shuffled,
    }

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(clock)
        self.service = Service(clock, _ACCOUNTS)

    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:
        return _route(method, parts, query)

    def answer(self, request: Request) -> Reply:
        if request.route not in _ROUTES:
            raise RefusedError(404, "no_route", f"acme has no {request.route}")
        if request.key not in _ACCOUNTS:
            raise RefusedError(401, "bad_key", "no such key")
        return _ROUTES[request.route](self.service, request)

    def refusal(self, status: int, code: str, message: str) -> Reply:
        return error_with(status, code, message)


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


def _account_of(request: Request) -> str:
    return _ACCOUNTS[request.key]


def _declare(service: Service, request: Request) -> Reply:
    sha256 = json.loads(request.body)["sha256"]
    return json_reply({"sha256": sha256, "status": service.declare(sha256)})


def _receive(service: Service, request: Request) -> Reply:
    sha256 = request.parts[1]
    return json_reply({"sha256": sha256, "status": service.receive(_account_of(request), sha256, request.body)})


def _uploads(service: Service, request: Request) -> Reply:
    query = request.query
    limit = int(query.get("limit", "100"))
    found, after = service.uploads_page(_account_of(request), after=query.get("after"), limit=limit)
    rows = [{"sha256": one.sha256, "bytes": one.size, "created_at": rfc3339(one.created_at)} for one in found]
    return json_reply({"uploads": rows, "next": after})


def _drop(service: Service, request: Request) -> Reply:
    service.drop(_account_of(request), request.parts[1])
    return json_reply({"sha256": request.parts[1], "status": "missing"})


def _create(service: Service, request: Request) -> Reply:
    run = service.create(_account_of(request), json.loads(request.body))
    return json_reply(service.run_view(run), 201)


def _list(service: Service, request: Request) -> Reply:
    query = request.query
    limit = int(query.get("limit", "100"))
    runs, after = service.page(_account_of(request), after=query.get("after"), limit=limit, tag=query.get("tag"))
    return json_reply({"runs": [service.run_view(run) for run in runs], "next": after})


def _get(service: Service, request: Request) -> Reply:
    return json_reply(service.run_view(service.run(_account_of(request), request.parts[1])))


def _cancel(service: Service, request: Request) -> Reply:
    run = service.run(_account_of(request), request.parts[1])
    service.end(run, "cancelled", message="cancelled by its owner")
    return json_reply(service.run_view(run))


def _delete(service: Service, request: Request) -> Reply:
    run = service.run(_account_of(request), request.parts[1])
    service.release(run)
    return json_reply(service.run_view(run))


def _log(service: Service, request: Request) -> Reply:
    run = service.run(_account_of(request), request.parts[1])
    lines, first = service.log(run), int(request.query.get("offset", "0"))
    last = first + LOG_PAGE
    is_over = service.clock.now() >= run.ending.at and last >= len(lines)
    return json_reply({"lines": lines[first:last], "next": min(last, len(lines)), "complete": is_over})


def _artifact(service: Service, request: Request) -> Reply:
    content = service.artifact(service.run(_account_of(request), request.parts[1]), request.parts[3])
    return in_ranges(content, request.headers.get("range"))


def _machines(service: Service, request: Request) -> Reply:
    return json_reply(
        {"machines": [{"name": one.name, "gpu": one.gpu, "usd_per_hour": str(one.usd_per_hour)} for one in MACHINES]}
    )


def _account(service: Service, request: Request) -> Reply:
    return json_reply({"id": _account_of(request), "name": f"the account {_account_of(request)}"})


def _bill(service: Service, request: Request) -> Reply:
    query = request.query
    rows = service.bill(_account_of(request), parse_rfc3339(query["start"]), parse_rfc3339(query["end"]))
    ids = [row.id for row in rows]
    first = ids.index(query["after"]) + 1 if "after" in query else 0
    last = first + int(query.get("limit", "100"))
    return json_reply(
        {"rows": [_row_view(row) for row in rows[first:last]], "next": ids[last - 1] if ids[last:] else None}
    )


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
    "GET /uploads": _uploads,
    "DELETE /uploads/{sha256}": _drop,
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
