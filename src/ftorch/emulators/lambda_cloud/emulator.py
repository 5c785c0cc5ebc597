"""Lambda Cloud on 127.0.0.1. The names of its routes, for scripts and counters, without the `/api/v1` in front:

GET  /instance-types
POST /instance-operations/launch      makes a machine; the same body again makes a second one
POST /instance-operations/terminate   refuses, with words that say nothing, a machine that is ending already
GET  /instances                       all of the workspace; ended ones are gone after a moment
GET  /instances/{id}
GET  /ssh-keys   POST /ssh-keys   DELETE /ssh-keys/{id}
GET  /audit-events
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from ftorch.core.clock import parse_rfc3339, rfc3339
from ftorch.emulators.lambda_cloud import schemas
from ftorch.emulators.lambda_cloud.catalogue import REGIONS, TYPES
from ftorch.emulators.lambda_cloud.service import Machine, Service, no_room
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

KEY = "lambda-key-5d20c7"
SWITCH_KEY = "lambda-key-of-the-switch-91e"
OTHER_KEY = "lambda-key-of-another-workspace"
ACCOUNTS = {KEY: "workspace-tiny", SWITCH_KEY: "workspace-tiny", OTHER_KEY: "workspace-other"}
LAUNCH = "POST /instance-operations/launch"
TERMINATE = "POST /instance-operations/terminate"
_PREFIX = ("api", "v1")
_TICK_S = 0.02
_YES = schemas.Availability(available=True)
_ACTIONS = schemas.Actions(migrate=_YES, rebuild=_YES, restart=_YES, cold_reboot=_YES, terminate=_YES)


def _with_unknown_status(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    for one in value["data"] if isinstance(value["data"], list) else [value["data"]]:
        one["status"] = "defragmenting"
    return replace(reply, body=json.dumps(value).encode())


def _shuffled(reply: Reply) -> Reply:
    """Newest first."""
    value = json.loads(reply.body)
    return replace(reply, body=json.dumps({"data": value["data"][::-1]}).encode())


def _rejected(request: Request, _value: str) -> Reply:
    """A refusal that repeats what it was given, keys and all."""
    order = json.loads(request.body)
    return _refusal(400, "global/invalid-parameters", f"{order['name']} cannot be: {_secrets_in(order['user_data'])}")


def _secrets_in(user_data: str) -> str:
    config = schemas.cloud_config(user_data)
    return next((json.loads(one.content)["key"] for one in config.write_files if one.path.endswith(".json")), "no key")


def _no_room(request: Request, _value: str) -> Reply:
    refused = no_room(json.loads(request.body)["region_name"])
    return _refusal(refused.status, refused.code, refused.message)


def _refusal(status: int, code: str, message: str) -> Reply:
    return json_reply({"error": {"code": code, "message": message, "suggestion": "Try something else."}}, status)


class LambdaEmulator(Emulator):
    """The service on a port of its own. Closing it ends every machine, and everything in them, by process id."""

    name = "lambda"
    instead: ClassVar[Mapping[Fault, Instead]] = {Fault.REJECT: _rejected, Fault.NO_CAPACITY: _no_room}
    after: ClassVar[Mapping[Fault, After]] = {
        Fault.UNKNOWN_STATUS: _with_unknown_status,
        Fault.SHUFFLED: _shuffled,
    }

    def __init__(
        self,
        clock: MovableClock,
        folder: Path | None = None,
        *,
        port: int = 0,
        genuine: bool = False,
        speed: float = 1.0,
    ) -> None:
        super().__init__(clock, port=port)
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="ftorch-lambda-")
        root = folder or Path(self._temporary.name if self._temporary else "")
        self.service = Service(clock, root, genuine=genuine, speed=speed)
        self.violations: list[str] = []
        """Requests that no schema of the service allows: none, in a good test."""
        self.asked_at: list[tuple[datetime, str, str]] = []
        """When each request came, from whom, and for what."""
        self._ticker = threading.Thread(target=self._tick, name="lambda-machines", daemon=True)

    def __enter__(self) -> Self:
        super().__enter__()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._ticker.join()
        self.service.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def api(self) -> str:
        """What `LAMBDA_API_BASE` must be."""
        return f"{self.url}/{'/'.join(_PREFIX)}"

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "LAMBDA_API_BASE": self.api,
            "LAMBDA_API_KEY": KEY,
            "LAMBDA_DEADMAN_API_KEY": SWITCH_KEY,
            "LAMBDA_SSH_USER": self.service.user,
            "LAMBDA_SSH_PORT": str(self.service.port),
        }

    def route(self, method: str, parts: tuple[str, ...], query: Mapping[str, str]) -> str:  # noqa: ARG002  the base class's names
        match parts[len(_PREFIX) :] if parts[: len(_PREFIX)] == _PREFIX else parts:
            case ("instances" | "ssh-keys" as kind, _):
                path = f"/{kind}/{{id}}"
            case rest:
                path = "/" + "/".join(rest)
        return f"{method} {path}"

    def answer(self, request: Request) -> Reply:
        if request.route not in _ROUTES:
            raise RefusedError(404, "global/object-does-not-exist", f"no {request.route}")
        if request.key not in ACCOUNTS:
            raise RefusedError(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.")
        self.asked_at.append((self.clock.now(), request.key, request.route))
        with self.service.lock:
            self.service.tick()
            try:
                return json_reply({"data": _ROUTES[request.route](self.service, request)})
            except ValidationError as error:
                where = ", ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
                self.violations.append(f"{request.route}: {where}")
                raise RefusedError(400, "global/invalid-parameters", f"Invalid request: {where}") from error

    def refusal(self, status: int, code: str, message: str) -> Reply:
        return _refusal(status, code, message)

    def _tick(self) -> None:
        while not self.stopping.wait(_TICK_S):
            self.service.tick()


def _account(request: Request) -> str:
    return ACCOUNTS[request.key]


def _view(one: Machine) -> dict[str, Any]:
    return schemas.value(
        schemas.Instance(
            id=one.id,
            status=one.status,
            name=one.order.name,
            ip=None if one.status == "booting" else one.box.address,
            ssh_key_names=one.order.ssh_key_names,
            region=REGIONS[one.order.region_name],
            instance_type=TYPES[one.order.instance_type_name],
            actions=_ACTIONS,
            tags=one.order.tags or [],
            jupyter_token="token-that-nobody-may-see",  # noqa: S106  a word for the tests to look for
            first_healthy=rfc3339(one.healthy_at) if one.healthy_at else None,
        )
    )


def _types(service: Service, _request: Request) -> object:
    return {name: schemas.value(offer) for name, offer in service.offers().items()}


def _launch(service: Service, request: Request) -> object:
    order = schemas.LaunchRequest.model_validate_json(request.body)
    return {"instance_ids": [service.launch(_account(request), order)]}


def _terminate(service: Service, request: Request) -> object:
    asked = schemas.TerminateRequest.model_validate_json(request.body)
    ended = service.terminate(_account(request), asked.instance_ids)
    return {"terminated_instances": [_view(one) for one in ended]}


def _instances(service: Service, request: Request) -> object:
    return [_view(one) for one in service.listed(_account(request))]


def _instance(service: Service, request: Request) -> object:
    return _view(service.machine(_account(request), request.parts[-1]))


def _ssh_keys(service: Service, request: Request) -> object:
    return [schemas.value(key) for key in service.ssh_keys(_account(request))]


def _add_ssh_key(service: Service, request: Request) -> object:
    order = schemas.SshKeyRequest.model_validate_json(request.body)
    return schemas.value(service.add_ssh_key(_account(request), order))


def _delete_ssh_key(service: Service, request: Request) -> object:
    service.delete_ssh_key(_account(request), request.parts[-1])
    return {}


def _events(service: Service, request: Request) -> object:
    start, end = (parse_rfc3339(request.query[name]) for name in ("start", "end"))
    found = service.events(_account(request), start, end)
    return {"events": [schemas.value(event) for event in found], "page_token": None}


_ROUTES: Mapping[str, Callable[[Service, Request], object]] = {
    "GET /instance-types": _types,
    LAUNCH: _launch,
    TERMINATE: _terminate,
    "GET /instances": _instances,
    "GET /instances/{id}": _instance,
    "GET /ssh-keys": _ssh_keys,
    "POST /ssh-keys": _add_ssh_key,
    "DELETE /ssh-keys/{id}": _delete_ssh_key,
    "GET /audit-events": _events,
}
