"""The Jobs API of Ray's dashboard, one function per endpoint; shapes as of Ray 2.60."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, RootModel

from ftorch.core.errors import RunNotFoundError
from ftorch.providers.http import Http

_NO_FILE = "A file is not found at"
_NO_NODE = "Agent for node id"
_WHOLE_FILE_S = 300


class Answer(BaseModel):
    """What Ray says. Fields that we do not know are left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Version(Answer):
    ray_version: str
    session_name: str
    """Another one after each start of the head, which then knows no job of before."""


class Job(Answer):
    submission_id: str | None
    status: str
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    """Milliseconds; when the job was submitted, not when it began to run."""
    end_time: int | None = None
    metadata: Mapping[str, str] | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


class Jobs(RootModel[tuple[Job, ...]]):
    """All jobs of the session, unpaged; also those that others have started without submitting."""


class Submitted(Answer):
    submission_id: str


class Stopped(Answer):
    stopped: bool


class Deleted(Answer):
    deleted: bool


class Logs(Answer):
    logs: str


class Nothing(Answer):
    """An answer of which only the status counts."""


class ClusterStatus(Answer):
    data: Mapping[str, Any] = Field(default_factory=dict)


class Node(Answer):
    state: str


class Listed(Answer):
    result: tuple[Node, ...]


class Found(Answer):
    result: Listed


class Nodes(Answer):
    data: Found


class NewJob(BaseModel):
    """The body of a create; a field that Ray does not know is refused there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entrypoint: str
    submission_id: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    entrypoint_num_cpus: int | None = None
    entrypoint_num_gpus: int | None = None


def version(http: Http, operation: str) -> Version:
    return http.read("/api/version", Version, operation=operation)


def job(http: Http, key: str, operation: str) -> Job | None:
    """None where the session has no such job."""
    try:
        return http.read(_path(key), Job, operation=operation, not_found=f"job {key}")
    except RunNotFoundError:
        return None


def jobs(http: Http, operation: str) -> tuple[Job, ...]:
    """Those that were submitted."""
    return tuple(one for one in http.read("/api/jobs/", Jobs, operation=operation).root if one.submission_id)


def create(http: Http, new: NewJob, send_before: datetime) -> Submitted:
    """One POST. Ray refuses an id that it has with 500."""
    return http.create("/api/jobs/", Submitted, send_before=send_before, json=new.model_dump(exclude_none=True))


def stop(http: Http, key: str) -> None:
    """Does nothing for a job that has ended. One that waits goes on waiting, and ends when its turn has come."""
    http.change("POST", f"{_path(key)}/stop", Stopped, operation="cancel", not_found=f"job {key}")


def delete(http: Http, key: str) -> None:
    """Drop the record of a job that has ended."""
    http.change("DELETE", _path(key), Deleted, operation="release", not_found=f"job {key}")


def logs(http: Http, key: str, operation: str) -> str | None:
    """All that the job has printed; None where the session has no such job."""
    try:
        return http.read(f"{_path(key)}/logs", Logs, operation=operation, not_found=f"job {key}").logs
    except RunNotFoundError:
        return None


def has_package(http: Http, uri: str) -> bool:
    try:
        http.content(_package(uri), operation="stage", not_found="the package")
    except RunNotFoundError:
        return False
    return True


def send_package(http: Http, uri: str, file: Path) -> None:
    http.change("PUT", _package(uri), Nothing, operation="stage", file=file)


def file(http: Http, node_id: str, name: str, operation: str) -> bytes | None:
    """A small file among the logs of a node; None where there is none, or the node is gone."""
    try:
        return http.content(_FILE, operation=operation, params=_where(node_id, name), **_missing(name))
    except RunNotFoundError:
        return None


def download(http: Http, node_id: str, name: str, part: Path) -> None:
    """A file among the logs of a node. Ray knows no ranges: what was cut begins anew."""
    part.unlink(missing_ok=True)
    http.download(_FILE, part, params=_where(node_id, name), **_missing(name))


def nodes(http: Http) -> int:
    """How many nodes the cluster has now."""
    found = http.read("/api/v0/nodes", Nodes, operation="stage").data.result.result
    return sum(node.state == "ALIVE" for node in found)


def cluster_status(http: Http) -> str:
    """What Ray's autoscaler says of the cluster's resources, for people."""
    told = http.read("/api/cluster_status", ClusterStatus, operation="observe").data
    return str(told.get("autoscalingStatus") or "")


_FILE = "/api/v0/logs/file"


def _where(node_id: str, name: str) -> dict[str, Any]:
    return {"node_id": node_id, "filename": name, "lines": -1, "timeout": _WHOLE_FILE_S}


def _missing(name: str) -> dict[str, Any]:
    """Ray says with 500 that a file is not there, or that a node is not."""
    return {"not_found": f"file {name}", "not_found_words": (_NO_FILE, _NO_NODE)}


def _path(key: str) -> str:
    return f"/api/jobs/{quote(key, safe='')}"


def _package(uri: str) -> str:
    protocol, _, name = uri.partition("://")
    return f"/api/packages/{protocol}/{name}"
