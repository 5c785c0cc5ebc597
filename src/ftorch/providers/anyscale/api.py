"""Anyscale's API: what it is asked, one function per endpoint. Most paths are those of its own SDK (0.26.112) and no
published contract, so every field of an answer that we can do without may be missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from ftorch.core.errors import RunNotFoundError
from ftorch.providers.anyscale import answers
from ftorch.providers.anyscale.capabilities import PAGE
from ftorch.providers.http import Http

PYTHON, RAY = "py311", "2.59.0"
"""Of the image that a job gets whose manifest names none: that of the SDK."""
INSTALLATION_TAG, RUN_TAG, PLAN_TAG = "ftorch_installation", "ftorch_job", "ftorch_manifest_sha"
OPEN_STATES = (
    "PENDING",
    "AWAITING_CLUSTER_START",
    "UPDATING",
    "RUNNING",
    "ERRORED",
    "CLEANING_UP",
    "RESTARTING",
)
_KEYS_IN_A_QUERY = 20
_USAGE_PAGE = 1000
_LOG_PAGE = 1000
# who and where


def organisations(http: Http) -> Sequence[answers.Named]:
    return http.read("/api/v2/userinfo/", answers.UserResult, operation="check").result.organizations


def default_cloud(http: Http) -> answers.Cloud:
    return http.read("/ext/v0/clouds/default", answers.CloudResult, operation="stage", not_found="default cloud").result


def cloud_named(http: Http, name: str) -> answers.Cloud:
    """Raises RunNotFoundError."""
    path, asked = "/api/v2/clouds/find_by_name", {"name": name}
    return http.read(
        path, answers.CloudResult, operation="stage", method="POST", json=asked, not_found=f"cloud {name!r}"
    ).result


def cloud(http: Http, cloud_id: str, *, operation: str) -> answers.Cloud:
    path = f"/ext/v0/clouds/{quote(cloud_id, safe='')}"
    return http.read(path, answers.CloudResult, operation=operation, not_found=f"cloud {cloud_id}").result


def default_project(http: Http, cloud_id: str) -> answers.Named:
    path, asked = "/ext/v0/projects/default_project", {"parent_cloud_id": cloud_id}
    return http.read(path, answers.NamedResult, operation="stage", params=asked, not_found="default project").result


def project_named(http: Http, name: str, cloud_id: str) -> answers.Named:
    """Raises RunNotFoundError."""
    path, asked = "/ext/v0/projects/search", {"name": {"equals": name}, "parent_cloud_id": {"equals": cloud_id}}
    found = http.read(path, answers.NamedResults, operation="stage", method="POST", json=asked).results
    if not found:
        raise RunNotFoundError(f"anyscale has no project {name!r} there", provider="anyscale", operation="stage")
    return found[0]


def default_build(http: Http) -> answers.Named:
    asked = {"python_version": PYTHON, "ray_version": RAY}
    return http.read(
        "/ext/v0/cluster_environment_builds/default", answers.NamedResult, operation="stage", params=asked
    ).result


def build_of_image(http: Http, image_uri: str) -> answers.Named:
    """The build of an image, registered when it is not there: the same image again gives the same build."""
    path, asked = "/api/v2/builds/get_or_create_build_from_image_uri", {"image_uri": image_uri}
    return http.change("POST", path, answers.NamedResult, operation="stage", json=asked).result


# machines


def default_compute(http: Http, cloud_id: str) -> answers.Compute:
    path, asked = "/ext/v0/cluster_computes/default", {"cloud_id": cloud_id}
    return http.read(
        path, answers.ComputeResult, operation="stage", params=asked, not_found="default compute config"
    ).result


def compute_named(http: Http, name: str, version: int, cloud_id: str) -> answers.Compute | None:
    """The compute config of a name; version -1 is the newest. None where there is none."""
    asked = {
        "orgwide": True,
        "name": {"equals": name},
        "include_anonymous": True,
        "archive_status": "NOT_ARCHIVED",
        "version": version,
        "cloud_id": cloud_id,
    }
    path = "/api/v2/compute_templates/search"
    found = http.read(path, answers.ComputeResults, operation="submit", method="POST", json=asked).results
    return found[0] if found else None


def create_compute(http: Http, name: str, config: Mapping[str, Any]) -> answers.Named:
    """A description of machines; nothing is rented by it. Twice makes two versions of one name."""
    asked = {"name": name, "config": config, "anonymous": False, "new_version": True}
    return http.change("POST", "/api/v2/compute_templates/", answers.NamedResult, operation="submit", json=asked).result


# packages


def presigned(http: Http, cloud_id: str, file_name: str) -> answers.Presigned:
    """Where a package is put; `file_exists` when it lies there already."""
    path = f"/api/v2/clouds/{quote(cloud_id, safe='')}/generate_cloud_data_bucket_presigned_url"
    asked = {"file_type": "runtime_env_packages", "file_name": file_name, "access_mode": "WRITE"}
    return http.change("POST", path, answers.PresignedResult, operation="stage", json=asked).result


# jobs


def create_job(http: Http, body: Mapping[str, Any], *, send_before: datetime) -> answers.Job:
    """Not idempotent: twice makes two jobs of one name, and both are paid."""
    return http.create("/api/v2/decorated_ha_jobs/create", answers.JobResult, send_before=send_before, json=body).result


def job(http: Http, job_id: str, *, operation: str) -> answers.Job:
    return http.read(_path(job_id), answers.JobResult, operation=operation, not_found=f"job {job_id}").result


def open_records(http: Http, installations: Collection[str], *, operation: str) -> Iterator[Any]:
    """The records of an installation's jobs that have not ended, as they come."""
    tags = [f"{INSTALLATION_TAG}:{one}" for one in sorted(installations)]
    return _listed(http, {"tag_filter": tags, "state_filter": list(OPEN_STATES)}, operation)


def records_of_installation(http: Http, installation: str, *, operation: str) -> Iterator[Any]:
    """The records of all its jobs, oldest first."""
    return _listed(http, {"tag_filter": [f"{INSTALLATION_TAG}:{installation}"]}, operation)


def records_of_keys(http: Http, keys: Collection[str], *, operation: str) -> Iterator[Any]:
    """The records of the jobs that carry these keys, oldest first for each."""
    wanted = sorted(keys)
    for first in range(0, len(wanted), _KEYS_IN_A_QUERY):
        tags = [f"{RUN_TAG}:{key}" for key in wanted[first : first + _KEYS_IN_A_QUERY]]
        yield from _listed(http, {"tag_filter": tags}, operation)


def terminate(http: Http, job_id: str) -> None:
    path = f"{_path(job_id)}/terminate"
    http.change("POST", path, answers.Result, operation="cancel", not_found=f"job {job_id}")


def log_chunks(http: Http, run_id: str) -> tuple[list[answers.Chunk], str | None]:
    """All pieces of a run's log in order, and the token that storage may want for them."""
    path = f"/api/v2/logs/job_logs_download_v2/{quote(run_id, safe='')}"
    chunks: list[answers.Chunk] = []
    asked: dict[str, Any] = {"page_size": _LOG_PAGE}
    bearer: str | None = None
    while True:
        page = http.read(path, answers.LogResult, operation="logs", params=asked, not_found=f"job run {run_id}").result
        chunks += page.log_chunks
        bearer = bearer or page.bearer_token
        if page.next_page_token is None:
            return chunks, bearer
        asked["next_page_token"] = page.next_page_token


# the bill


def usage(http: Http, start: date, end: date, *, operation: str) -> Iterator[answers.Usage]:
    """The organisation's rows of the days from one to another, both included."""
    path = "/api/v2/aggregated_instance_usage/cluster"
    body = {"start_date": start.isoformat(), "end_date": end.isoformat(), "group_by_date": True, "asc": True}
    asked: dict[str, Any] = {"count": _USAGE_PAGE}
    while True:
        page = http.read(path, answers.UsageResults, operation=operation, method="POST", params=asked, json=body)
        yield from page.results
        if page.metadata.next_paging_token is None:
            return
        asked["paging_token"] = page.metadata.next_paging_token


def _listed(http: Http, asked: Mapping[str, Any], operation: str) -> Iterator[Any]:
    """Archived jobs too: an absent key must be proof. One record that cannot be read must not hide the others."""
    params = {
        **asked,
        "type_filter": "BATCH_JOB",
        "archive_status": "ALL",
        "sort_field": "CREATED_AT",
        "sort_order": "ASC",
        "count": PAGE,
    }
    while True:
        page = http.read("/api/v2/decorated_ha_jobs/", answers.Results, operation=operation, params=params)
        yield from page.results
        if page.metadata.next_paging_token is None:
            return
        params["paging_token"] = page.metadata.next_paging_token


def _path(job_id: str) -> str:
    return f"/ext/v0/production_jobs/{quote(job_id, safe='')}"
