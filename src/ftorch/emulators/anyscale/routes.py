"""Each route: from a request by its schema to the service, and from there to an answer as the SDK reads it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftorch.emulators.anyscale import schemas, views
from ftorch.emulators.anyscale.accounts import ACCOUNTS, CLOUDS, Account, Cloud, cloud_of, clouds_of, default_cloud
from ftorch.emulators.anyscale.bill import Row
from ftorch.emulators.anyscale.jobs import Job
from ftorch.emulators.anyscale.service import DEFAULT_BUILD, ComputeTemplate, Service
from ftorch.emulators.server import RefusedError, Reply, Request, json_reply

UPLOAD, CHUNK = "PUT /storage/{id}", "GET /storage/logs/{id}"
_TOKEN = re.compile(r"(?:^|;\s*)cli_token=([^;]*)")
_Asked = TypeVar("_Asked", bound=BaseModel)
_Value = TypeVar("_Value")
Handler = Callable[[Service, Request, str], Reply]


class NotAllowedError(Exception):
    """A request that its schema does not allow."""


def token(request: Request) -> str:
    """What the SDK sends in a cookie."""
    found = _TOKEN.search(request.headers.get("cookie", ""))
    return found[1] if found else ""


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


def _account(request: Request) -> Account:
    return ACCOUNTS[token(request)]


def _organisation(request: Request) -> str:
    return _account(request).organisation


def _query(request: Request, schema: type[_Asked]) -> _Asked:
    return _allowed(schema, dict(request.query))


def _allowed(schema: type[_Asked], value: object) -> _Asked:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise _not_allowed(error) from error


def _body(request: Request, schema: type[_Asked]) -> _Asked:
    try:
        return schema.model_validate_json(request.body)
    except ValidationError as error:
        raise _not_allowed(error) from error


def _not_allowed(error: ValidationError) -> NotAllowedError:
    """Where and why; the values are left out, for secrets may be among them."""
    found = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return NotAllowedError("; ".join(found))


def _result(value: object) -> Reply:
    return json_reply({"result": value})


def _page(
    found: Sequence[_Value], view: Callable[[_Value], object], count: int, after: str | None, total: int | None = None
) -> Reply:
    """A page of a list, and where the next one begins."""
    first = _place(after)
    shown = found[first : first + count]
    last = first + len(shown)
    paging = base64.urlsafe_b64encode(str(last).encode()).decode() if last < len(found) else None
    metadata = {"total": len(found) if total is None else total, "next_paging_token": paging}
    return json_reply({"results": [view(one) for one in shown], "metadata": metadata})


def _place(after: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(after)) if after else 0
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, "invalid", "Invalid paging token") from error


# who and where


def _userinfo(_service: Service, request: Request, _url: str) -> Reply:
    _query(request, schemas.Nothing)
    return _result(views.user_view(_account(request)))


def _default_cloud(_service: Service, request: Request, _url: str) -> Reply:
    return _result(views.cloud_view(default_cloud(_organisation(request))))


def _cloud(_service: Service, request: Request, _url: str) -> Reply:
    return _result(views.cloud_view(_known_cloud(request, request.parts[-1])))


def _known_cloud(request: Request, cloud_id: str) -> Cloud:
    cloud = cloud_of(_organisation(request), cloud_id)
    if cloud is None:
        raise RefusedError(404, "not_found", f"Cloud with ID '{cloud_id}' was not found.")
    return cloud


def _find_cloud(_service: Service, request: Request, _url: str) -> Reply:
    name = _body(request, schemas.CloudName).name
    for cloud in clouds_of(_organisation(request)):
        if cloud.name == name:
            return _result(views.cloud_view(cloud))
    raise RefusedError(404, "not_found", f"Cloud '{name}' was not found.")


def _default_project(_service: Service, request: Request, _url: str) -> Reply:
    return _result(views.project_view(_known_cloud(request, _query(request, schemas.ParentCloud).parent_cloud_id)))


def _search_projects(_service: Service, request: Request, _url: str) -> Reply:
    """Every cloud has one, and all of them are called the same."""
    asked = _body(request, schemas.ProjectQuery)
    clouds = clouds_of(_organisation(request)) if asked.name.equals == "default" else []
    found = [views.project_view(cloud) for cloud in clouds if asked.parent_cloud_id.equals in (None, cloud.id)]
    return json_reply({"results": found, "metadata": {}})


def _project(_service: Service, request: Request, _url: str) -> Reply:
    for cloud in clouds_of(_organisation(request)):
        if cloud.project == request.parts[-1]:
            return _result(views.project_view(cloud))
    raise RefusedError(404, "not_found", f"Project {request.parts[-1]} was not found.")


# compute configs, images


def _template(template: ComputeTemplate) -> views.View:
    return views.template_view(template, CLOUDS[template.config.cloud_id])


def _default_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = _query(request, schemas.DefaultCompute)
    account = _account(request)
    cloud = _known_cloud(request, asked.cloud_id) if asked.cloud_id else default_cloud(account.organisation)
    return _result(_template(service.default_template(cloud, account)))


def _compute(service: Service, request: Request, _url: str) -> Reply:
    return _result(_template(service.template(_organisation(request), request.parts[-1])))


def _search_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = _body(request, schemas.ComputeTemplateQuery)
    name = asked.name.equals if asked.name else None
    found = service.named(_organisation(request), name or "")
    found = [one for one in found if asked.cloud_id in (None, one.config.cloud_id)]
    newest = found[:1] if asked.version == -1 else [one for one in found if asked.version in (None, one.version)]
    return _page(newest, _template, 10, None)


def _create_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = _body(request, schemas.CreateComputeTemplate)
    return _result(_template(service.create_template(_account(request), asked.config, asked.name)))


def _default_build(_service: Service, request: Request, _url: str) -> Reply:
    _query(request, schemas.DefaultBuild)
    return _result(views.build_view(DEFAULT_BUILD, None))


def _image_build(service: Service, request: Request, _url: str) -> Reply:
    asked = _body(request, schemas.ImageBuild)
    return _result(views.build_view(service.build(asked.image_uri), asked.image_uri))


def _build(service: Service, request: Request, _url: str) -> Reply:
    build_id = request.parts[-1]
    if build_id not in (DEFAULT_BUILD, *service.builds):
        raise RefusedError(404, "not_found", f"Build '{build_id}' was not found.")
    return _result(views.build_view(build_id, service.builds.get(build_id)))


def _environment(_service: Service, request: Request, _url: str) -> Reply:
    return _result(views.environment_view(request.parts[-1]))


def _infra(_service: Service, _request: Request, _url: str) -> Reply:
    return _result({"deployment_infra": "aws"})


# storage


def _presign(service: Service, request: Request, url: str) -> Reply:
    asked = _body(request, schemas.PresignedUrl)
    cloud = _known_cloud(request, request.parts[3])
    where = f"{cloud.organisation}/{cloud.id}/{asked.file_type}/{asked.file_name}"
    uri = f"s3://emulated-{cloud.id}/{where}"
    return _result(
        {
            "file_uri": uri,
            "url": f"{url}/storage/{where}?signature=emulated",
            "file_exists": uri in service.packages,
            "bucket_name": f"s3://emulated-{cloud.id}",
            "bucket_path": where,
            "url_scheme": "HTTP",
            "file_size": len(service.packages.get(uri, b"")) or None,
        }
    )


def _receive(service: Service, request: Request, _url: str) -> Reply:
    _query(request, schemas.StorageSignature)
    if "cookie" in request.headers or "authorization" in request.headers:
        # As storage does for a presigned address; and the token has no business there.
        raise NotAllowedError("only one way of authorizing is allowed")
    uri = f"s3://emulated-{request.parts[2]}/{'/'.join(request.parts[1:])}"
    service.packages[uri] = request.body
    service.received[uri] += 1
    return Reply(200, b"")


# jobs


def _create(service: Service, request: Request, _url: str) -> Reply:
    return _result(views.job_view(service.create(_account(request), _body(request, schemas.CreateJob))))


def _listed(job: Job) -> views.View:
    return views.listed_view(job, CLOUDS[job.cloud_id])


def _list(service: Service, request: Request, _url: str) -> Reply:
    several = {name: request.repeated.get(name, ()) for name in ("state_filter", "tag_filter")}
    asked = _allowed(schemas.ListJobs, {**request.query, **several})
    return _page(service.listed(_organisation(request), asked), _listed, asked.count, asked.paging_token)


def _get(service: Service, request: Request, _url: str) -> Reply:
    _query(request, schemas.Nothing)
    return _result(views.job_view(service.job(_organisation(request), request.parts[3])))


def _terminate(service: Service, request: Request, _url: str) -> Reply:
    job = service.job(_organisation(request), request.parts[3])
    service.terminate(job)
    return _result(views.job_view(job))


def _search_runs(service: Service, request: Request, _url: str) -> Reply:
    asked = _body(request, schemas.SearchRuns)
    jobs = [service.job(_organisation(request), job_id) for job_id in asked.ha_job_ids]
    results = {
        job.id: [views.run_view(job, run) for run in job.runs if asked.run_name in (None, run.id)] for job in jobs
    }
    return json_reply({"results": results})


def _log_chunks(service: Service, request: Request, url: str) -> Reply:
    asked = _query(request, schemas.LogPage)
    run = service.run_of(_organisation(request), request.parts[-1])
    first = _place(asked.next_page_token)
    chunks = list(enumerate(run.chunks))
    shown = chunks[first : first + asked.page_size]
    following = first + len(shown) < len(chunks)
    address = f"{url}/storage/logs/{run.id}"
    return _result(
        {
            "log_chunks": [
                views.chunk_view(run, number, len(chunk), f"{address}/{number}?signature=emulated")
                for number, chunk in shown
            ],
            "next_page_token": base64.urlsafe_b64encode(str(first + len(shown)).encode()).decode()
            if following
            else None,
        }
    )


def _chunk(service: Service, request: Request, _url: str) -> Reply:
    _query(request, schemas.StorageSignature)
    if "cookie" in request.headers:
        raise NotAllowedError("the token has no business in storage")
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
    page = _query(request, schemas.UsagePage)
    asked = _body(request, schemas.UsageQuery)
    rows = [row for row in service.rows(_organisation(request)) if asked.start_date <= row.day <= asked.end_date]
    return _page(rows, _usage_row(has_day=bool(asked.group_by_date)), page.count, page.paging_token)


def _usage_row(*, has_day: bool) -> Callable[[Row], Mapping[str, Any]]:
    return lambda row: views.usage_view(row, has_day=has_day)


ROUTES: Mapping[str, Handler] = {
    "GET /api/v2/userinfo/": _userinfo,
    "GET /api/v2/workos/deployment_infra": _infra,
    "GET /ext/v0/clouds/default": _default_cloud,
    "GET /ext/v0/clouds/{id}": _cloud,
    "POST /api/v2/clouds/find_by_name": _find_cloud,
    "GET /ext/v0/projects/default_project": _default_project,
    "POST /ext/v0/projects/search": _search_projects,
    "GET /api/v2/projects/{id}": _project,
    "GET /ext/v0/cluster_computes/default": _default_compute,
    "GET /ext/v0/cluster_computes/{id}": _compute,
    "GET /api/v2/compute_templates/{id}": _compute,
    "POST /api/v2/compute_templates/search": _search_compute,
    "POST /api/v2/compute_templates/": _create_compute,
    "GET /ext/v0/cluster_environment_builds/default": _default_build,
    "GET /ext/v0/cluster_environment_builds/{id}": _build,
    "GET /ext/v0/cluster_environments/{id}": _environment,
    "POST /api/v2/builds/get_or_create_build_from_image_uri": _image_build,
    "POST /api/v2/clouds/{id}/generate_cloud_data_bucket_presigned_url": _presign,
    UPLOAD: _receive,
    "POST /api/v2/decorated_ha_jobs/create": _create,
    "GET /api/v2/decorated_ha_jobs/": _list,
    "GET /ext/v0/production_jobs/{id}": _get,
    "POST /ext/v0/production_jobs/{id}/terminate": _terminate,
    "POST /api/v2/decorated_ha_jobs/job_runs/search": _search_runs,
    "GET /api/v2/logs/job_logs_download_v2/{id}": _log_chunks,
    CHUNK: _chunk,
    "POST /api/v2/aggregated_instance_usage/cluster": _usage,
}
