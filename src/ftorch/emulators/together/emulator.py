"""Together on 127.0.0.1: the routes of its fine-tuning API. Their names, for scripts and counters:

POST /v1/files                      declare content; 302 to where it is put, 409 where it is there already
PUT  /upload/{id}                   send it; no key
POST /v1/files/{id}/preprocess      let it be checked
GET  /v1/files   GET|DELETE /v1/files/{id}   GET /v1/files/{id}/content
GET  /v1/fine-tunes/models/limits   GET /v1/fine-tunes/models/supported
POST /v1/fine-tunes/estimate-price
POST /v1/fine-tunes                 make a job; the same body again makes a second one
GET  /v1/fine-tunes                 all jobs of the organisation, no filter, no pages
GET|DELETE /v1/fine-tunes/{id}      POST /v1/fine-tunes/{id}/cancel
GET  /v1/fine-tunes/{id}/events|metrics|checkpoints
GET  /v1/finetune/download          an archive; understands Range
GET  /v1/billing/usage              404 where it is not enabled
GET  /v3/whoami                     organisation and project of the key
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import ClassVar

from ftorch.emulators import allowed
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
from ftorch.emulators.together import routes
from ftorch.emulators.together.accounts import ACCOUNTS, KEY
from ftorch.emulators.together.answers import Error, ErrorWords
from ftorch.emulators.together.service import Service
from ftorch.emulators.training import Instant, Training

_UNKNOWN_STATUS = "defragmenting"
_BAD_KEY = "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys."


def _with_unknown_status(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    for job in value.get("data", [value]):
        job["status"] = _UNKNOWN_STATUS
    return replace(reply, body=json.dumps(value).encode())


def _shuffled(reply: Reply) -> Reply:
    """The jobs in an order that depends on nothing that a client could know."""
    value = json.loads(reply.body)
    value["data"].sort(key=lambda job: job["id"][::-1])
    return replace(reply, body=json.dumps(value).encode())


def _rejected(request: Request, _value: str) -> Reply:
    """A refusal that repeats what it was given, secrets and all."""
    order = json.loads(request.body)
    secrets = [f"{name} {order[name]}" for name in ("wandb_key", "hf_api_token") if order.get(name)]
    return _refusal(400, "invalid_request", f"job {order.get('suffix')} cannot be made with {', '.join(secrets)}")


def _refusal(status: int, code: str, message: str) -> Reply:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json_reply(Error(error=ErrorWords(message=message, type=kind, code=code)).value(), status)


class TogetherEmulator(Emulator):
    """The service on a port of its own. Closing it ends the training that it started."""

    name = "together"
    instead: ClassVar[Mapping[Fault, Instead]] = {Fault.REJECT: _rejected}
    after: ClassVar[Mapping[Fault, After]] = {
        Fault.UNKNOWN_STATUS: _with_unknown_status,
        Fault.SHUFFLED: _shuffled,
    }

    def __init__(self, clock: MovableClock, *, port: int = 0, training: Training | None = None) -> None:
        super().__init__(clock, port=port)
        self._training = training or Instant()
        self.service = Service(clock, self._training)
        self.violations: list[str] = []
        """Requests that no schema of the service allows, and answers that do not keep to one: none, in a good test."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._training.close()

    @property
    def variables(self) -> Mapping[str, str]:
        return {"TOGETHER_BASE_URL": self.url, "TOGETHER_API_KEY": KEY}

    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:  # noqa: ARG002  the base class's names
        return f"{method} {routes.path(parts)}"

    def answer(self, request: Request) -> Reply:
        if request.route not in routes.ROUTES:
            raise RefusedError(404, "not_found", f"Not found: {request.route}")
        if request.route != routes.UPLOAD and request.key not in ACCOUNTS:
            raise RefusedError(401, "invalid_api_key", _BAD_KEY)
        try:
            return routes.ROUTES[request.route](self.service, request, self.url)
        except allowed.NotAllowedError as error:
            self.violations.append(f"{request.route}: {error}")
            raise RefusedError(400, "invalid_request", f"Invalid request: {error}") from error
        except (KeyError, ValueError) as error:
            # An answer that breaks its schema, or a plain bug: the base class would take both for the client's fault.
            self.violations.append(f"answer to {request.route}: {error!r}")
            raise AssertionError(f"the emulator has no answer to {request.route}") from error

    def refusal(self, status: int, code: str, message: str) -> Reply:
        return _refusal(status, code, message)
