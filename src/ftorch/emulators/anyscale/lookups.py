"""Who one is and where things are: users, clouds, projects, compute configs, images, and the storage of packages."""

from __future__ import annotations

from ftorch.emulators import allowed
from ftorch.emulators.anyscale import accounts, exchange, schemas, views
from ftorch.emulators.anyscale.accounts import CLOUDS, Cloud, cloud_of, clouds_of
from ftorch.emulators.anyscale.service import DEFAULT_BUILD, ComputeTemplate, Service
from ftorch.emulators.server import RefusedError, Reply, Request, json_reply


def userinfo(_service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.Nothing)
    return exchange.result(views.user_view(exchange.account(request)))


def default_cloud(_service: Service, request: Request, _url: str) -> Reply:
    return exchange.result(views.cloud_view(accounts.default_cloud(exchange.organisation(request))))


def cloud(service: Service, request: Request, _url: str) -> Reply:
    found = _known_cloud(request, request.parts[-1])
    if found.id in service.lost_clouds:
        raise RefusedError(404, "not_found", f"Cloud with ID '{found.id}' was not found.")
    if found.id in service.closed_clouds:
        raise RefusedError(403, "forbidden", "You do not have permission to view this cloud.")
    return exchange.result(views.cloud_view(found))


def _known_cloud(request: Request, cloud_id: str) -> Cloud:
    cloud = cloud_of(exchange.organisation(request), cloud_id)
    if cloud is None:
        raise RefusedError(404, "not_found", f"Cloud with ID '{cloud_id}' was not found.")
    return cloud


def find_cloud(_service: Service, request: Request, _url: str) -> Reply:
    name = allowed.body(request, schemas.CloudName).name
    for cloud in clouds_of(exchange.organisation(request)):
        if cloud.name == name:
            return exchange.result(views.cloud_view(cloud))
    raise RefusedError(404, "not_found", f"Cloud '{name}' was not found.")


def default_project(_service: Service, request: Request, _url: str) -> Reply:
    return exchange.result(
        views.project_view(_known_cloud(request, allowed.query(request, schemas.ParentCloud).parent_cloud_id))
    )


def search_projects(_service: Service, request: Request, _url: str) -> Reply:
    """Every cloud has one, and all of them are called the same."""
    asked = allowed.body(request, schemas.ProjectQuery)
    clouds = clouds_of(exchange.organisation(request)) if asked.name.equals == "default" else []
    found = [views.project_view(cloud) for cloud in clouds if asked.parent_cloud_id.equals in (None, cloud.id)]
    return json_reply({"results": found, "metadata": {}})


def project(_service: Service, request: Request, _url: str) -> Reply:
    for cloud in clouds_of(exchange.organisation(request)):
        if cloud.project == request.parts[-1]:
            return exchange.result(views.project_view(cloud))
    raise RefusedError(404, "not_found", f"Project {request.parts[-1]} was not found.")


# compute configs, images


def _template(template: ComputeTemplate) -> views.View:
    return views.template_view(template, CLOUDS[template.config.cloud_id])


def default_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.query(request, schemas.DefaultCompute)
    account = exchange.account(request)
    cloud = _known_cloud(request, asked.cloud_id) if asked.cloud_id else accounts.default_cloud(account.organisation)
    return exchange.result(_template(service.default_template(cloud, account)))


def compute(service: Service, request: Request, _url: str) -> Reply:
    return exchange.result(_template(service.template(exchange.organisation(request), request.parts[-1])))


def search_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.body(request, schemas.ComputeTemplateQuery)
    name = asked.name.equals if asked.name else None
    found = service.named(exchange.organisation(request), name or "")
    found = [one for one in found if asked.cloud_id in (None, one.config.cloud_id)]
    newest = found[:1] if asked.version == -1 else [one for one in found if asked.version in (None, one.version)]
    return exchange.page(newest, _template, 10, None)


def create_compute(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.body(request, schemas.CreateComputeTemplate)
    return exchange.result(_template(service.create_template(exchange.account(request), asked.config, asked.name)))


def default_build(_service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.DefaultBuild)
    return exchange.result(views.build_view(DEFAULT_BUILD, None))


def image_build(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.body(request, schemas.ImageBuild)
    return exchange.result(views.build_view(service.build(asked.image_uri), asked.image_uri))


def build(service: Service, request: Request, _url: str) -> Reply:
    build_id = request.parts[-1]
    if build_id not in (DEFAULT_BUILD, *service.builds):
        raise RefusedError(404, "not_found", f"Build '{build_id}' was not found.")
    return exchange.result(views.build_view(build_id, service.builds.get(build_id)))


def environment(_service: Service, request: Request, _url: str) -> Reply:
    return exchange.result(views.environment_view(request.parts[-1]))


def infra(_service: Service, _request: Request, _url: str) -> Reply:
    return exchange.result({"deployment_infra": "aws"})


# storage


def presign(service: Service, request: Request, url: str) -> Reply:
    asked = allowed.body(request, schemas.PresignedUrl)
    cloud = _known_cloud(request, request.parts[3])
    where = f"{cloud.organisation}/{cloud.id}/{asked.file_type}/{asked.file_name}"
    uri = f"s3://emulated-{cloud.id}/{where}"
    return exchange.result(
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


def receive(service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.StorageSignature)
    if "cookie" in request.headers or "authorization" in request.headers:
        # As storage does for a presigned address; and the token has no business there.
        raise allowed.NotAllowedError("only one way of authorizing is allowed")
    uri = f"s3://emulated-{request.parts[2]}/{'/'.join(request.parts[1:])}"
    service.packages[uri] = request.body
    service.received[uri] += 1
    return Reply(200, b"")
