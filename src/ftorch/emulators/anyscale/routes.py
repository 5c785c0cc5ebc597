"""Each route: from a request by its schema to the service, and from there to an answer as the SDK reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ftorch.emulators import allowed
from ftorch.emulators.anyscale import exchange, lookups, schemas, views
from ftorch.emulators.anyscale.accounts import ACCOUNTS, CLOUDS
from ftorch.emulators.anyscale.bill import Row
from ftorch.emulators.anyscale.exchange import Handler
from ftorch.emulators.anyscale.jobs import Job
from ftorch.emulators.anyscale.service import Service
from ftorch.emulators.server import RefusedError, Reply, Request, json_reply

UPLOAD, CHUNK = "PUT /storage/{id}", "GET /storage/logs/{id}"


def path(parts: tuple[str, ...]) -> str:
    """The path with `{id}` for what varies, and the last `/` that some of them have."""
    match parts:
        case ("ext", "v0", "production_jobs", _, *rest):
            named = ("ext", "v0", "production_jobs", "{id}", *rest)
        case ("ext", "v0", "cluster_computes" | "cluster_environment_builds" | "clouds" as kind, one):
            named = ("ext", "v0", kind, one if one == "default" else "{id}")
        case ("ext", "v0", "cluster_environments", _):
            named = ("ext", "v0", "cluster_environments", "{id}")
        case ("api", "v2", "clouds", _, "generate_cloud_data_bucket_presigned_url"):
            named = ("api", "v2", "clouds", "{id}", parts[4])
        case ("api", "v2", "logs", "job_logs_download_v2", _):
            named = (*parts[:4], "{id}")
        case ("api", "v2", "compute_templates" | "projects" as kind, one) if one not in _NAMED:
            named = ("api", "v2", kind, "{id}")
        case ("storage", "logs", *_):
            named = ("storage", "logs", "{id}")
        case ("storage", *_):
            named = ("storage", "{id}")
        case ("api", "v2", *rest) if tuple(rest) in _WITH_SLASH:
            return "/" + "/".join(parts) + "/"
        case _:
            named = parts
    return "/" + "/".join(named)


_NAMED = ("search", "find_by_name", "default_project")
_WITH_SLASH = (("userinfo",), ("compute_templates",), ("decorated_ha_jobs",))


# jobs


def _create(service: Service, request: Request, _url: str) -> Reply:
    return exchange.result(
        views.job_view(service.create(exchange.account(request), allowed.body(request, schemas.CreateJob)))
    )


def _listed(job: Job) -> views.View:
    return views.listed_view(job, CLOUDS[job.cloud_id])


def _list(service: Service, request: Request, _url: str) -> Reply:
    several = {name: request.repeated.get(name, ()) for name in ("state_filter", "tag_filter")}
    asked = allowed.value({**request.query, **several}, schemas.ListJobs)
    return exchange.page(
        service.listed(exchange.organisation(request), asked), _listed, asked.count, asked.paging_token
    )


def _get(service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.Nothing)
    return exchange.result(views.job_view(service.job(exchange.organisation(request), request.parts[3])))


def _terminate(service: Service, request: Request, _url: str) -> Reply:
    job = service.job(exchange.organisation(request), request.parts[3])
    service.terminate(job)
    return exchange.result(views.job_view(job))


def _search_runs(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.body(request, schemas.SearchRuns)
    jobs = [service.job(exchange.organisation(request), job_id) for job_id in asked.ha_job_ids]
    results = {
        job.id: [views.run_view(job, run) for run in job.runs if asked.run_name in (None, run.id)] for job in jobs
    }
    return json_reply({"results": results})


def _log_chunks(service: Service, request: Request, url: str) -> Reply:
    asked = allowed.query(request, schemas.LogPage)
    run = service.run_of(exchange.organisation(request), request.parts[-1])
    first = exchange.place(asked.next_page_token)
    chunks = list(enumerate(run.chunks))
    shown = chunks[first : first + asked.page_size]
    following = first + len(shown) < len(chunks)
    address = f"{url}/storage/logs/{run.id}"
    return exchange.result(
        {
            "log_chunks": [
                views.chunk_view(run, number, len(chunk), f"{address}/{number}?signature=emulated")
                for number, chunk in shown
            ],
            "next_page_token": exchange.after_token(first + len(shown)) if following else None,
        }
    )


def _chunk(service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.StorageSignature)
    if "cookie" in request.headers:
        raise allowed.NotAllowedError("the token has no business in storage")
    *_, run_id, number = request.parts
    for account in ACCOUNTS.values():
        try:
            return Reply(200, service.run_of(account.organisation, run_id).chunks[int(number)])
        except RefusedError:
            continue
    raise RefusedError(404, "not_found", "no such log")


# the bill


def _usage(service: Service, request: Request, _url: str) -> Reply:
    if not service.may_read_bill:
        raise RefusedError(403, "forbidden", "You do not have permission to view the usage of this organization.")
    page = allowed.query(request, schemas.UsagePage)
    asked = allowed.body(request, schemas.UsageQuery)
    rows = [
        row for row in service.rows(exchange.organisation(request)) if asked.start_date <= row.day <= asked.end_date
    ]
    return exchange.page(rows, _usage_row(has_day=bool(asked.group_by_date)), page.count, page.paging_token)


def _usage_row(*, has_day: bool) -> Callable[[Row], Mapping[str, Any]]:
    return lambda row: views.usage_view(row, has_day=has_day)


ROUTES: Mapping[str, Handler] = {
    "GET /api/v2/userinfo/": lookups.userinfo,
    "GET /api/v2/workos/deployment_infra": lookups.infra,
    "GET /ext/v0/clouds/default": lookups.default_cloud,
    "GET /ext/v0/clouds/{id}": lookups.cloud,
    "POST /api/v2/clouds/find_by_name": lookups.find_cloud,
    "GET /ext/v0/projects/default_project": lookups.default_project,
    "POST /ext/v0/projects/search": lookups.search_projects,
    "GET /api/v2/projects/{id}": lookups.project,
    "GET /ext/v0/cluster_computes/default": lookups.default_compute,
    "GET /ext/v0/cluster_computes/{id}": lookups.compute,
    "GET /api/v2/compute_templates/{id}": lookups.compute,
    "POST /api/v2/compute_templates/search": lookups.search_compute,
    "POST /api/v2/compute_templates/": lookups.create_compute,
    "GET /ext/v0/cluster_environment_builds/default": lookups.default_build,
    "GET /ext/v0/cluster_environment_builds/{id}": lookups.build,
    "GET /ext/v0/cluster_environments/{id}": lookups.environment,
    "POST /api/v2/builds/get_or_create_build_from_image_uri": lookups.image_build,
    "POST /api/v2/clouds/{id}/generate_cloud_data_bucket_presigned_url": lookups.presign,
    UPLOAD: lookups.receive,
    "POST /api/v2/decorated_ha_jobs/create": _create,
    "GET /api/v2/decorated_ha_jobs/": _list,
    "GET /ext/v0/production_jobs/{id}": _get,
    "POST /ext/v0/production_jobs/{id}/terminate": _terminate,
    "POST /api/v2/decorated_ha_jobs/job_runs/search": _search_runs,
    "GET /api/v2/logs/job_logs_download_v2/{id}": _log_chunks,
    CHUNK: _chunk,
    "POST /api/v2/aggregated_instance_usage/cluster": _usage,
}
