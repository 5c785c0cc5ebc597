"""Anyscale on 127.0.0.1: the part of its two APIs that jobs need, its storage, and its bill. Routes are in `routes`.

As the service does, it makes a second job of the same order, retries a job once whose order names no number, and takes
its token from a cookie.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from ftorch.emulators import allowed
from ftorch.emulators.anyscale import exchange, routes
from ftorch.emulators.anyscale.accounts import ACCOUNTS, TOKEN
from ftorch.emulators.anyscale.service import Service
from ftorch.emulators.entrypoints import Processes, Work
from ftorch.emulators.server import (
    After,
    Emulator,
    Fault,
    Instead,
    MovableClock,
    RefusedError,
    Reply,
    Request,
    json_reply,
)

CREATE, LIST = "POST /api/v2/decorated_ha_jobs/create", "GET /api/v2/decorated_ha_jobs/"
GET, TERMINATE = "GET /ext/v0/production_jobs/{id}", "POST /ext/v0/production_jobs/{id}/terminate"
USAGE = "POST /api/v2/aggregated_instance_usage/cluster"
_UNKNOWN_STATE = "DEFRAGMENTING"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the token, but for its path."""

    route: str
    query: Mapping[str, tuple[str, ...]]
    body: Mapping[str, Any]


def _with_unknown_state(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    for job in value.get("results", [value.get("result")]):
        job["state"]["current_state"] = _UNKNOWN_STATE
    return replace(reply, body=json.dumps(value).encode())


def _shuffled(reply: Reply) -> Reply:
    """The jobs in an order that depends on nothing that a client could know."""
    value = json.loads(reply.body)
    value["results"].sort(key=lambda job: job["id"][::-1])
    return replace(reply, body=json.dumps(value).encode())


def _rejected(request: Request, _value: str) -> Reply:
    """A refusal that repeats what it was given, variables and all."""
    order = json.loads(request.body)
    return _refusal(400, f"job {order['name']} cannot be made with {order['config']['runtime_env']['env_vars']}")


def _refused_token(request: Request, _value: str) -> Reply:
    return _refusal(401, f"the token {exchange.token(request)!r} is not valid")


def _refusal(status: int, words: str) -> Reply:
    return json_reply({"error": {"detail": words}}, status)


class AnyscaleEmulator(Emulator):
    """The service on a port of its own. Closing it ends every entrypoint that it started.

    `genuine`: the trainer of a package really trains; else a stand-in keeps the protocol in a moment.
    """

    name = "anyscale"
    instead: ClassVar[Mapping[Fault, Instead]] = {Fault.REJECT: _rejected, Fault.REFUSED_KEY: _refused_token}
    after: ClassVar[Mapping[Fault, After]] = {
        Fault.UNKNOWN_STATUS: _with_unknown_state,
        Fault.SHUFFLED: _shuffled,
    }

    def __init__(self, clock: MovableClock, *, port: int = 0, work: Work | None = None, genuine: bool = False) -> None:
        super().__init__(clock, port=port)
        self._clusters = tempfile.TemporaryDirectory(prefix="ftorch-anyscale-")
        self._work = work or Processes(Path(self._clusters.name), instant=not genuine)
        self.service = Service(clock, self._work)
        self.violations: list[str] = []
        """Requests that no schema of the service allows, and answers that cannot be given: none, in a good test."""
        self.asked: list[Asked] = []
        """What was asked, in order: for those who compare two clients."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._work.close()
        self._clusters.cleanup()

    @property
    def variables(self) -> Mapping[str, str]:
        return {"ANYSCALE_HOST": self.url, "ANYSCALE_CLI_TOKEN": TOKEN}

    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:  # noqa: ARG002  the base class's names
        return f"{method} {routes.path(parts)}"

    def answer(self, request: Request) -> Reply:
        if request.route not in routes.ROUTES:
            raise RefusedError(404, "not_found", f"Not found: {request.route}")
        if not request.route.partition(" ")[2].startswith("/storage/"):
            if exchange.token(request) not in ACCOUNTS:
                raise RefusedError(401, "unauthorized", "Invalid or expired token.")
            self.asked.append(Asked(request.route, request.repeated, json.loads(request.body or b"{}")))
        try:
            return routes.ROUTES[request.route](self.service, request, self.url)
        except allowed.NotAllowedError as error:
            self.violations.append(f"{request.route}: {error}")
            raise RefusedError(422, "invalid", f"Invalid request: {error}") from error
        except RefusedError:
            raise
        except Exception as error:
            # A plain bug of ours: the base class would take it for the client's fault, or end the connection.
            self.violations.append(f"answer to {request.route}: {error!r}")
            raise AssertionError(f"the emulator has no answer to {request.route}") from error

    def refusal(self, status: int, code: str, message: str) -> Reply:  # noqa: ARG002  Anyscale has no codes
        return _refusal(status, message)
