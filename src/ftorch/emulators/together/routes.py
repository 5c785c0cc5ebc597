"""Each route: from a request by its schema to the service, and from there to an answer by its schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel

from ftorch.emulators import allowed
from ftorch.emulators.server import RefusedError, Reply, Request, in_ranges, json_reply
from ftorch.emulators.together import answers, bill, records, schemas, views
from ftorch.emulators.together.accounts import ACCOUNTS, Account
from ftorch.emulators.together.estimates import estimate
from ftorch.emulators.together.events import checkpoints, events, metrics
from ftorch.emulators.together.forms import fields
from ftorch.emulators.together.jobs import Job
from ftorch.emulators.together.models import MODELS, find_model
from ftorch.emulators.together.service import Service

UPLOAD = "PUT /upload/{id}"
_BINARY = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"^bytes=\d+-\d*$")
_Asked = TypeVar("_Asked", bound=BaseModel)
Handler = Callable[[Service, Request, str], Reply]


def path(parts: tuple[str, ...]) -> str:
    """The path with `{id}` for what varies."""
    match parts:
        case ("v1", "fine-tunes", "models" | "estimate-price", *_):
            named = parts
        case ("v1", "files" | "fine-tunes" as kind, _, *rest) if "multipart" not in parts:
            named = ("v1", kind, "{id}", *rest)
        case ("upload", _):
            named = ("upload", "{id}")
        case _:
            named = parts
    return "/" + "/".join(named)


def _account(request: Request) -> Account:
    return ACCOUNTS[request.key]


def _organisation(request: Request) -> str:
    return _account(request).organisation


def _body(request: Request, schema: type[_Asked]) -> _Asked:
    allowed.query(request, schemas.Nothing)
    return allowed.body(request, schema)


def _nothing(request: Request) -> None:
    """The route takes neither a query nor a body; the SDK sends none, and some clients an empty object."""
    allowed.query(request, schemas.Nothing)
    if request.body not in (b"", b"{}"):
        raise allowed.NotAllowedError("a body was sent where none is read")


def _binary(request: Request, content: bytes) -> Reply:
    asked = request.headers.get("range", "")
    if asked and not _RANGE.match(asked):
        raise allowed.NotAllowedError(f"range: {asked!r} is not read here")
    return in_ranges(content, asked, _BINARY)


def _answer(value: answers.Answer, status: int = 200) -> Reply:
    return json_reply(value.value(), status)


# files


def _declare(service: Service, request: Request, url: str) -> Reply:
    allowed.query(request, schemas.Nothing)
    try:
        form = fields(request.headers.get("content-type", ""), request.body)
    except ValueError as error:
        raise allowed.NotAllowedError(str(error)) from error
    declared = allowed.value(form, schemas.FileDeclaration)
    if existing := service.files.same(_organisation(request), declared.checksum):
        return _answer(answers.ExistingFile(file_id=existing.id, message="File already exists"), 409)
    file = service.files.declare(_organisation(request), declared)
    return Reply(302, b"", {"Location": f"{url}/upload/{file.id}?signature=emulated", "X-Together-File-Id": file.id})


def _receive(service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.UploadSignature)
    if "authorization" in request.headers:
        # As storage does for a presigned address; and the key has no business there.
        raise allowed.NotAllowedError("authorization: only one way of authorizing is allowed")
    service.files.receive(request.parts[1], request.body)
    return Reply(200, b"")


def _preprocess(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    file = service.files.submit(_organisation(request), request.parts[2])
    return _answer(views.file_view(service.files, file))


def _files(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    found = service.files.of(_organisation(request))
    return _answer(answers.Files(data=[views.file_view(service.files, file) for file in found]))


def _file(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    file = service.files.get(_organisation(request), request.parts[2])
    return _answer(views.file_view(service.files, file))


def _delete_file(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    service.files.delete(_organisation(request), request.parts[2])
    return _answer(answers.DeletedFile(id=request.parts[2]))


def _file_content(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    file = service.files.get(_organisation(request), request.parts[2])
    return _binary(request, file.content or b"")


def _multipart(_service: Service, _request: Request, _url: str) -> Reply:
    raise RefusedError(
        501, "not_emulated", "multipart uploads are for files above 5 GB, which this emulator does not take"
    )


# models


def _limits(_service: Service, request: Request, _url: str) -> Reply:
    return _answer(views.limits_view(find_model(allowed.query(request, schemas.ModelName).model_name)))


def _supported(_service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    return _answer(answers.SupportedModels(models=sorted(MODELS)))


def _estimate(service: Service, request: Request, _url: str) -> Reply:
    return _answer(estimate(service, _account(request), _body(request, schemas.Estimate)))


# jobs


def _create(service: Service, request: Request, _url: str) -> Reply:
    job = service.create(_account(request), _body(request, schemas.CreateFineTune))
    return _truncated(service, job)


def _list(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    now = service.clock.now()
    jobs = service.listed(_organisation(request))
    return _answer(records.Jobs(data=[views.truncated_view(job, now) for job in jobs]))


def _truncated(service: Service, job: Job) -> Reply:
    return _answer(views.truncated_view(job, service.clock.now()))


def _job(service: Service, request: Request) -> Job:
    return service.job(_organisation(request), request.parts[2])


def _get(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    return _answer(views.job_view(_job(service, request), service.clock.now()))


def _cancel(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    job = _job(service, request)
    service.cancel(job)
    return _truncated(service, job)


def _delete(service: Service, request: Request, _url: str) -> Reply:
    allowed.query(request, schemas.ForcedQuery)
    job = _job(service, request)
    service.delete(job)
    return _answer(records.DeletedJob(message=f"Fine-tune job {job.id} deleted"))


def _events(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    return _answer(records.Events(data=events(_job(service, request), service.clock.now())))


def _metrics(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.query(request, schemas.MetricsQuery)
    return _answer(records.Metrics(metrics=metrics(_job(service, request), service.clock.now(), asked)))


def _checkpoints(service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    return _answer(records.Checkpoints(data=checkpoints(_job(service, request), service.clock.now())))


def _download(service: Service, request: Request, _url: str) -> Reply:
    asked = allowed.query(request, schemas.DownloadQuery)
    job = service.job(_organisation(request), asked.ft_id)
    if asked.checkpoint_step:
        raise RefusedError(
            400, "not_emulated", "this emulator keeps no intermediate checkpoints; ask for checkpoint=adapter"
        )
    if asked.checkpoint in ("merged", "model_output_path"):
        raise RefusedError(400, "not_emulated", "this emulator has no merged weights; ask for checkpoint=adapter")
    if asked.checkpoint != "adapter" or job.lora is None:
        raise RefusedError(400, "invalid_request", f"Invalid checkpoint type: {asked.checkpoint}")
    return _binary(request, service.archive_of(job))


# the account


def _usage(service: Service, request: Request, _url: str) -> Reply:
    organisation = _organisation(request)
    if organisation not in service.billing_enabled:
        raise RefusedError(404, "not_found", "Not found")
    asked = allowed.query(request, schemas.UsageQuery)
    if asked.organization_id not in (None, organisation):
        raise RefusedError(403, "forbidden", "The API key belongs to another organization")
    lines = service.hours(organisation) if asked.granularity == "hour" else service.days(organisation)
    month = asked.month or f"{service.clock.now():%Y-%m}"
    return _answer(bill.report(lines, asked, organisation=organisation, month=month, page=service.bill_page_limit))


def _whoami(_service: Service, request: Request, _url: str) -> Reply:
    _nothing(request)
    return _answer(views.whoami_view(_account(request)))


ROUTES: Mapping[str, Handler] = {
    "POST /v1/files": _declare,
    UPLOAD: _receive,
    "POST /v1/files/{id}/preprocess": _preprocess,
    "POST /v1/files/multipart/initiate": _multipart,
    "POST /v1/files/multipart/complete": _multipart,
    "POST /v1/files/multipart/abort": _multipart,
    "GET /v1/files": _files,
    "GET /v1/files/{id}": _file,
    "DELETE /v1/files/{id}": _delete_file,
    "GET /v1/files/{id}/content": _file_content,
    "GET /v1/fine-tunes/models/limits": _limits,
    "GET /v1/fine-tunes/models/supported": _supported,
    "POST /v1/fine-tunes/estimate-price": _estimate,
    "POST /v1/fine-tunes": _create,
    "GET /v1/fine-tunes": _list,
    "GET /v1/fine-tunes/{id}": _get,
    "DELETE /v1/fine-tunes/{id}": _delete,
    "POST /v1/fine-tunes/{id}/cancel": _cancel,
    "GET /v1/fine-tunes/{id}/events": _events,
    "GET /v1/fine-tunes/{id}/metrics": _metrics,
    "GET /v1/fine-tunes/{id}/checkpoints": _checkpoints,
    "GET /v1/finetune/download": _download,
    "GET /v1/billing/usage": _usage,
    "GET /v3/whoami": _whoami,
}
