"""The dashboard on a port of its own. Refusals are bare text, as Ray's are.

GET  /api/version          GET  /api/cluster_status    GET  /api/v0/nodes
GET  /api/packages/gcs/{name}    PUT
POST /api/jobs/            an id that is there is refused with 500
GET  /api/jobs/            all of them, unpaged
GET  /api/jobs/{id}        DELETE, of one that has ended
POST /api/jobs/{id}/stop   GET /api/jobs/{id}/logs
GET  /api/v0/logs/file     node_id, filename; a file that is not there is a 500
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar

from ftorch.emulators.ray import runs
from ftorch.emulators.ray.cluster import NODE, Cluster
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
from ftorch.emulators.training import Instant, Training

TOKEN = "ray-token-4f1c09"  # noqa: S105  nobody else's
OTHER_TOKEN = "ray-token-of-nobody"  # noqa: S105  nobody else's
_FIELDS = {
    "entrypoint",
    "submission_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
}


def _text(status: int, words: str) -> Reply:
    return Reply(status, words.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def _rejected(request: Request, _value: str) -> Reply:
    order = json.loads(request.body)
    return _text(400, f"job {order['submission_id']} cannot be made with {order['runtime_env']['env_vars']}")


def _with_unknown_status(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    for job in value if isinstance(value, list) else [value]:
        job["status"] = "DEFRAGMENTING"
    return replace(reply, body=json.dumps(value).encode())


def _shuffled(reply: Reply) -> Reply:
    value = json.loads(reply.body)
    return replace(reply, body=json.dumps(value[::-1]).encode()) if isinstance(value, list) else reply


class RayEmulator(Emulator):
    """`token` is what the cluster wants to see; None: it lets everybody in, as Ray does unless told otherwise."""

    name = "ray"
    instead: ClassVar[Mapping[Fault, Instead]] = {Fault.REJECT: _rejected}
    after: ClassVar[Mapping[Fault, After]] = {Fault.UNKNOWN_STATUS: _with_unknown_status, Fault.SHUFFLED: _shuffled}

    def __init__(
        self,
        clock: MovableClock,
        *,
        port: int = 0,
        training: Training | None = None,
        token: str | None = TOKEN,
        cpus: float = 64,
        gpus: float = 8,
    ) -> None:
        super().__init__(clock, port=port)
        self._training = training or Instant()
        self._token = token
        self.cluster = Cluster(clock, self._training, cpus=cpus, gpus=gpus)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._training.close()

    @property
    def variables(self) -> Mapping[str, str]:
        return {"RAY_ADDRESS": self.url, **({"RAY_AUTH_TOKEN": self._token} if self._token else {})}

    def route(self, method: str, parts: tuple[str, ...], _query: Mapping[str, str]) -> str:
        match parts:
            case ("api", "packages", protocol, _):
                return f"{method} /api/packages/{protocol}/{{name}}"
            case ("api", "jobs"):
                return f"{method} /api/jobs/"
            case ("api", "jobs", _):
                return f"{method} /api/jobs/{{id}}"
            case ("api", "jobs", _, verb):
                return f"{method} /api/jobs/{{id}}/{verb}"
            case ("api", "v0", "logs", "file") if _query.get("filename", "").endswith("status.json"):
                return f"{method} /api/v0/logs/file?status"
            case _:
                return f"{method} /{'/'.join(parts)}"

    def answer(self, request: Request) -> Reply:
        if self._token is not None and request.key != self._token:
            raise RefusedError(403 if request.key else 401, "", f"Unauthorized: the token {request.key!r} is not valid")
        if request.route not in _ROUTES:
            raise RefusedError(404, "", "404: Not Found")
        for job in self.cluster.all():
            self.cluster.settle(job)
        return _ROUTES[request.route](self.cluster, request)

    def refusal(self, status: int, _code: str, message: str) -> Reply:
        return _text(status, message)


def _version(cluster: Cluster, _request: Request) -> Reply:
    told = {"version": "4", "ray_version": "2.60.0", "ray_commit": "emulated", "session_name": cluster.session}
    return json_reply(told)


def _has_package(cluster: Cluster, request: Request) -> Reply:
    name = request.parts[3]
    if name not in cluster.packages:
        raise RefusedError(404, "", f"Package gcs://{name} does not exist")
    return Reply(200, b"")


def _receive(cluster: Cluster, request: Request) -> Reply:
    cluster.receive(request.parts[3], request.body)
    return Reply(200, b"")


def _create(cluster: Cluster, request: Request) -> Reply:
    order: Mapping[str, Any] = json.loads(request.body)
    for name in order:
        if name not in _FIELDS:
            raise RefusedError(400, "", f"TypeError: JobSubmitRequest.__init__() got an unexpected argument '{name}'")
    job = cluster.create(order)
    return json_reply({"job_id": job.id, "submission_id": job.id})


def _list(cluster: Cluster, _request: Request) -> Reply:
    return json_reply([job.view(cluster.clock.now(), NODE) for job in cluster.all()])


def _get(cluster: Cluster, request: Request) -> Reply:
    return json_reply(cluster.job(request.parts[2]).view(cluster.clock.now(), NODE))


def _stop(cluster: Cluster, request: Request) -> Reply:
    return json_reply({"stopped": cluster.stop(request.parts[2])})


def _delete(cluster: Cluster, request: Request) -> Reply:
    cluster.delete(request.parts[2])
    return json_reply({"deleted": True})


def _logs(cluster: Cluster, request: Request) -> Reply:
    return json_reply({"logs": runs.log(cluster.job(request.parts[2]), cluster.clock.now())})


def _file(cluster: Cluster, request: Request) -> Reply:
    return Reply(200, cluster.file(request.query["node_id"], request.query["filename"]))


def _status(cluster: Cluster, _request: Request) -> Reply:
    return json_reply(
        {"result": True, "msg": "Got cluster status.", "data": {"autoscalingStatus": cluster.resources()}}
    )


def _nodes(cluster: Cluster, _request: Request) -> Reply:
    nodes = [{"node_id": f"{number:056x}", "state": "ALIVE"} for number in range(cluster.nodes)]
    return json_reply({"result": True, "msg": "", "data": {"result": {"total": len(nodes), "result": nodes}}})


_ROUTES: Mapping[str, Callable[[Cluster, Request], Reply]] = {
    "GET /api/version": _version,
    "GET /api/cluster_status": _status,
    "GET /api/v0/nodes": _nodes,
    "GET /api/packages/gcs/{name}": _has_package,
    "PUT /api/packages/gcs/{name}": _receive,
    "POST /api/jobs/": _create,
    "GET /api/jobs/": _list,
    "GET /api/jobs/{id}": _get,
    "DELETE /api/jobs/{id}": _delete,
    "POST /api/jobs/{id}/stop": _stop,
    "GET /api/jobs/{id}/logs": _logs,
    "GET /api/v0/logs/file": _file,
    "GET /api/v0/logs/file?status": _file,
}
