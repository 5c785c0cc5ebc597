"""What each RPC does: its name, what it is given, what it answers. Only what is in `ROUTES` is served."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from ftorch.emulators.modal.bill import groups
from ftorch.emulators.modal.prices import RATES
from ftorch.emulators.modal.sandboxes import Order, Sandbox, Status
from ftorch.emulators.modal.service import Service
from ftorch.emulators.modal.volumes import BLOCK, Entry
from ftorch.emulators.server import RefusedError

PAGE = 10
"""Sandboxes in a page of the list."""
_BUILDER = "2025.06"
_MADE = api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
_FOUND_OR_MADE = (_MADE, api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING)


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and where blocks are to be had."""

    service: Service
    account: str
    blocks_url: str
    idempotency_key: str = ""


Rpc = Callable[[Call, Any], Iterator[Message]]


def _one(call: Callable[[Call, Any], Message]) -> Rpc:
    def answered(asked: Call, request: Any) -> Iterator[Message]:
        yield call(asked, request)

    return answered


# who and where


def _hello(_call: Call, _request: Any) -> Message:
    return api_pb2.ClientHelloResponse(image_builder_version=_BUILDER)


def _token(_call: Call, _request: Any) -> Message:
    # A JSON web token that ends in 2100; the client reads nothing but its end.
    return api_pb2.AuthTokenGetResponse(token=f"e30.{_base64({'exp': 4_102_444_800})}.c2ln")


def _workspace(call: Call, _request: Any) -> Message:
    return api_pb2.WorkspaceNameLookupResponse(username=call.account)


def _environment(_call: Call, request: Any) -> Message:
    name = request.deployment_name or "main"
    settings = api_pb2.EnvironmentSettings(image_builder_version=_BUILDER)
    metadata = api_pb2.EnvironmentMetadata(name=name, settings=settings)
    return api_pb2.EnvironmentGetOrCreateResponse(environment_id=f"en-{name}", metadata=metadata)


# apps, images, secrets


def _app(call: Call, request: Any) -> Message:
    app_id = call.service.app(call.account, request.app_name, create=request.object_creation_type in _FOUND_OR_MADE)
    return api_pb2.AppGetOrCreateResponse(app_id=app_id, handle_metadata=_app_metadata(app_id, request.app_name))


def _apps(call: Call, _request: Any) -> Message:
    mine = {name: app_id for (account, name), app_id in call.service.apps.items() if account == call.account}
    return api_pb2.AppListResponse(
        apps=[
            api_pb2.AppListResponse.AppListItem(
                app_id=app_id,
                name=name,
                description=name,
                state=api_pb2.APP_STATE_DEPLOYED,
                n_running_tasks=len(call.service.listed(call.account, app_id, {})),
                metadata=_app_metadata(app_id, name),
            )
            for name, app_id in mine.items()
        ]
    )


def _set_tags(call: Call, request: Any) -> Message:
    call.service.app_tags[request.app_id] = dict(request.tags)
    return _empty()


def _get_tags(call: Call, request: Any) -> Message:
    return api_pb2.AppGetTagsResponse(tags=call.service.app_tags.get(request.app_id, {}))


def _image(_call: Call, request: Any) -> Message:
    digest = hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()
    return api_pb2.ImageGetOrCreateResponse(
        image_id=f"im-{digest[:22]}", result=_result(Status.SUCCESS, 0), metadata=_image_metadata()
    )


def _image_from_id(_call: Call, request: Any) -> Message:
    return api_pb2.ImageFromIdResponse(image_id=request.image_id, metadata=_image_metadata())


def _built(_call: Call, _request: Any) -> Message:
    return api_pb2.ImageJoinStreamingResponse(result=_result(Status.SUCCESS, 0), eof=True, metadata=_image_metadata())


def _secret(call: Call, request: Any) -> Message:
    return api_pb2.SecretGetOrCreateResponse(secret_id=call.service.secret(request.env_dict))


# volumes


def _volume(call: Call, request: Any) -> Message:
    name = request.deployment_name
    if request.object_creation_type == _MADE and name in call.service.volume_names(call.account):
        raise RefusedError(409, "exists", f"a Volume {name!r} exists")
    volume_id = call.service.volume(call.account, name, create=request.object_creation_type in _FOUND_OR_MADE)
    version = api_pb2.VOLUME_FS_VERSION_V2
    return api_pb2.VolumeGetOrCreateResponse(
        volume_id=volume_id, version=version, metadata=api_pb2.VolumeMetadata(version=version, name=name)
    )


def _volumes(call: Call, _request: Any) -> Message:
    return api_pb2.VolumeListResponse(
        items=[
            api_pb2.VolumeListItem(
                volume_id=volume_id,
                label=name,
                metadata=api_pb2.VolumeMetadata(version=api_pb2.VOLUME_FS_VERSION_V2, name=name),
            )
            for name, volume_id in call.service.volume_names(call.account).items()
        ],
        environment_name="main",
    )


def _put_files(call: Call, request: Any) -> Message:
    """All files at once, when all their blocks are there; else what is missing."""
    blocks = call.service.blocks
    missing = [
        api_pb2.VolumePutFiles2Response.MissingBlock(
            file_index=number, block_index=place, put_url=f"{call.blocks_url}/blocks/{block.contents_sha256.hex()}"
        )
        for number, file in enumerate(request.files)
        for place, block in enumerate(file.blocks)
        if block.contents_sha256 not in blocks
    ]
    volume = call.service.volumes[request.volume_id]
    for file in () if missing else request.files:
        if request.disallow_overwrite_existing_files and volume.has(file.path):
            raise RefusedError(409, "exists", f"{file.path} exists")
        volume.write(file.path, b"".join(blocks[block.contents_sha256] for block in file.blocks)[: file.size])
    return api_pb2.VolumePutFiles2Response(missing_blocks=missing)


def _get_file(call: Call, request: Any) -> Message:
    size = len(call.service.volumes[request.volume_id].read(request.path))
    path = f"{call.blocks_url}/files/{request.volume_id}/{quote(request.path.strip('/'))}"
    urls = [f"{path}?start={start}" for start in range(0, size, BLOCK)]
    return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=0, len=size)


def _list_files(call: Call, request: Any) -> Iterator[Message]:
    entries = call.service.volumes[request.volume_id].entries(request.path, recursive=request.recursive)
    yield api_pb2.VolumeListFiles2Response(entries=[_entry(entry) for entry in entries])


def _remove_file(call: Call, request: Any) -> Message:
    call.service.volumes[request.volume_id].remove(request.path, recursive=request.recursive)
    return _empty()


# sandboxes


def _create(call: Call, request: Any) -> Message:
    sandbox = call.service.create(call.account, _order(request), call.idempotency_key)
    metadata = api_pb2.SandboxHandleMetadata(app_id=request.app_id)
    return api_pb2.SandboxCreateResponse(sandbox_id=sandbox.id, metadata=metadata)


def _task_id(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    if sandbox.is_over and not sandbox.task_id:
        return api_pb2.SandboxGetTaskIdResponse(task_result=_result(sandbox.status, sandbox.exit_code))
    return api_pb2.SandboxGetTaskIdResponse(task_id=sandbox.task_id)


def _wait(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    metadata = api_pb2.SandboxHandleMetadata(app_id=sandbox.order.app_id)
    return api_pb2.SandboxWaitResponse(result=_result(sandbox.status, sandbox.exit_code), metadata=metadata)


def _terminate(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    before = _result(sandbox.status, sandbox.exit_code)
    call.service.terminate(sandbox)
    return api_pb2.SandboxTerminateResponse(existing_result=before)


def _list(call: Call, request: Any) -> Message:
    """A page, the newest first, of those made before a moment."""
    tags = {tag.tag_name: tag.tag_value for tag in request.tags}
    found = call.service.listed(call.account, request.app_id, tags)
    if request.before_timestamp:
        found = [one for one in found if _listed_at(one) < request.before_timestamp]
    return api_pb2.SandboxListResponse(sandboxes=[_info(one) for one in found[:PAGE]])


def _by_name(call: Call, request: Any) -> Message:
    sandbox = call.service.named(call.account, request.app_name, request.sandbox_name)
    metadata = api_pb2.SandboxHandleMetadata(app_id=sandbox.order.app_id)
    return api_pb2.SandboxGetFromNameResponse(sandbox_id=sandbox.id, metadata=metadata)


def _by_name_v2(_call: Call, request: Any) -> Message:
    """Sandboxes without a GPU live on a second backend, which is not emulated."""
    raise RefusedError(404, "not_found", f"no running Sandbox {request.sandbox_name!r}")


def _tags_of(call: Call, request: Any) -> Message:
    tags = call.service.sandbox(call.account, request.sandbox_id).order.tags
    return api_pb2.SandboxTagsGetResponse(tags=_tags(tags))


# logs


def _fetch_logs(call: Call, request: Any) -> Message:
    start, end = _nanoseconds(request.since), _nanoseconds(request.until)
    batches = []
    for sandbox in _of_task(call, request):
        lines = [line for line in sandbox.lines if start <= line.at_ns < end][: request.limit or None]
        items = [
            api_pb2.TaskLogs(
                data=line.text,
                timestamp=line.at_ns / 1e9,
                timestamp_ns=line.at_ns,
                file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT,
            )
            for line in lines
        ]
        if items:
            batches.append(api_pb2.TaskLogsBatch(task_id=sandbox.task_id, sandbox_id=sandbox.id, items=items))
    return api_pb2.AppFetchLogsResponse(batches=batches)


def _count_logs(call: Call, request: Any) -> Message:
    start, end = _nanoseconds(request.since), _nanoseconds(request.until)
    width_ns = request.bucket_secs * 10**9
    counts: dict[int, int] = {}
    for sandbox in _of_task(call, request):
        for line in sandbox.lines:
            if start <= line.at_ns < end:
                bucket = line.at_ns // width_ns * width_ns
                counts[bucket] = counts.get(bucket, 0) + 1
    bucket_type = api_pb2.AppCountLogsResponse.LogBucket
    return api_pb2.AppCountLogsResponse(
        app_id=request.app_id,
        buckets=[
            bucket_type(bucket_start_at=_timestamp_ns(bucket), stdout_logs=count)
            for bucket, count in sorted(counts.items())
        ],
    )


# money


def _stats(call: Call, request: Any) -> Message:
    service = call.service
    _check_plan(service)
    service.look()
    start = _moment(request.since)
    end = _moment(request.until) if request.HasField("until") else service.clock.now() + timedelta(hours=1)
    if any(moment.minute or moment.second for moment in (start, *([end] if request.HasField("until") else []))):
        raise RefusedError(422, "invalid", "the range must lie on hour boundaries")
    chosen = (
        one
        for one in service.of_account(call.account)
        if one.order.app_id == request.app_id and dict(request.tags).items() <= one.order.tags.items()
    )
    seen_until = service.clock.now() - timedelta(seconds=service.stats_lag_s)
    found = groups(chosen, list(request.group_by_tags), start, end, seen_until)
    return api_pb2.SandboxGetTimeRangeStatsResponse(
        groups=[
            api_pb2.SandboxStatsGroup(
                tags={name: _tag_value(value) for name, value in group.tags.items()},
                cost_str=str(sum(group.resources.values(), Decimal(0))),
                cost_by_resource_str={name: str(usd) for name, usd in group.resources.items()},
            )
            for group in found
        ]
    )


def _rates(call: Call, _request: Any) -> Message:
    _check_plan(call.service)
    lines = "\n".join(f"{name}: ${usd}" for name, usd in RATES.items())
    return api_pb2.WorkspaceBillingRatesResponse(rates=RATES, formatted=lines)


def _report(call: Call, request: Any) -> Iterator[Message]:
    """Whole intervals in `[start, end)`; a day's row is the sum of its hours."""
    _check_plan(call.service)
    if request.resolution not in ("h", "d"):
        raise RefusedError(422, "invalid", f"no resolution {request.resolution!r}")
    step = timedelta(hours=1) if request.resolution == "h" else timedelta(days=1)
    start, end = _floor(_moment(request.start_timestamp), step), _moment(request.end_timestamp)
    merged: dict[tuple[str, datetime], Any] = {}
    for row in call.service.rows(call.account):
        interval = _floor(row.hour, step)
        if not start <= interval or interval + step > end:
            continue
        item = merged.setdefault(
            (row.object_id, interval),
            api_pb2.WorkspaceBillingReportItem(
                object_id=row.object_id,
                description=row.description,
                environment_name="main",
                interval=_timestamp(interval),
                tags=row.tags if request.tag_names else {},
            ),
        )
        item.cost = str(Decimal(item.cost or "0") + row.usd)
        for name, usd in row.resources.items():
            item.cost_by_resource[name] = str(Decimal(item.cost_by_resource.get(name, "0")) + usd)
    yield from merged.values()


def _check_plan(service: Service) -> None:
    if not service.has_billing:
        raise RefusedError(403, "plan", "billing reports are part of the Team and Enterprise plans")


# the shapes


def _order(request: Any) -> Order:
    definition = request.definition
    resources = definition.resources
    return Order(
        app_id=request.app_id,
        name=definition.name,
        tags={tag.tag_name: tag.tag_value for tag in request.tags},
        argv=tuple(definition.entrypoint_args),
        volumes={mount.mount_path: mount.volume_id for mount in definition.volume_mounts},
        secret_ids=tuple(definition.secret_ids),
        image_id=definition.image_id,
        gpu=resources.gpu_config.gpu_type,
        gpu_count=resources.gpu_config.count or 1,
        cores=Decimal(resources.milli_cpu or 125) / 1000,
        memory_gib=Decimal(resources.memory_mb or 128) / 1024,
        timeout_s=definition.timeout_secs,
        max_cores=Decimal(resources.milli_cpu_max) / 1000,
        max_memory_gib=Decimal(resources.memory_mb_max) / 1024,
    )


def _info(sandbox: Sandbox) -> Any:
    return api_pb2.SandboxInfo(
        id=sandbox.id,
        created_at=_listed_at(sandbox),
        app_id=sandbox.order.app_id,
        tags=_tags(sandbox.order.tags),
        name=sandbox.order.name,
        metadata=api_pb2.SandboxHandleMetadata(app_id=sandbox.order.app_id),
    )


def _listed_at(sandbox: Sandbox) -> float:
    """Pages are told apart by this, so no two sandboxes have the same."""
    return sandbox.created_at.timestamp() + sandbox.number / 1e5


def _of_task(call: Call, request: Any) -> list[Sandbox]:
    call.service.look()
    mine = call.service.of_account(call.account)
    return [one for one in mine if one.order.app_id == request.app_id and request.task_id in ("", one.task_id)]


def _result(status: Status, exit_code: int) -> Any:
    return api_pb2.GenericResult(status=int(status), exitcode=exit_code)  # type: ignore[arg-type]  # an enum's number


def _entry(entry: Entry) -> Any:
    kind = api_pb2.FileEntry.DIRECTORY if entry.is_folder else api_pb2.FileEntry.FILE
    return api_pb2.FileEntry(path=entry.path, type=kind, mtime=entry.modified_s, size=entry.size)


def _tags(tags: Mapping[str, str]) -> list[Any]:
    return [api_pb2.SandboxTag(tag_name=name, tag_value=value) for name, value in tags.items()]


def _tag_value(value: str | None) -> Any:
    kind = api_pb2.SandboxStatsGroup.TagValue
    return kind() if value is None else kind(value=value)


def _app_metadata(app_id: str, name: str) -> Any:
    return api_pb2.AppHandleMetadata(app_id=app_id, description=name, environment_name="main")


def _image_metadata() -> Any:
    return api_pb2.ImageMetadata(python_version_info="Python 3.12.11", image_builder_version=_BUILDER)


def _empty() -> Message:
    return Empty()


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _timestamp_ns(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def _nanoseconds(stamp: Timestamp) -> int:
    return stamp.seconds * 10**9 + stamp.nanos


def _floor(moment: datetime, step: timedelta) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour.replace(hour=0) if step > timedelta(hours=1) else hour


def _base64(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


ROUTES: Mapping[str, Rpc] = {
    "ClientHello": _one(_hello),
    "AuthTokenGet": _one(_token),
    "WorkspaceNameLookup": _one(_workspace),
    "EnvironmentGetOrCreate": _one(_environment),
    "AppGetOrCreate": _one(_app),
    "AppList": _one(_apps),
    "AppSetTags": _one(_set_tags),
    "AppGetTags": _one(_get_tags),
    "ImageGetOrCreate": _one(_image),
    "ImageFromId": _one(_image_from_id),
    "ImageJoinStreaming": _one(_built),
    "SecretGetOrCreate": _one(_secret),
    "VolumeGetOrCreate": _one(_volume),
    "VolumeList": _one(_volumes),
    "VolumePutFiles2": _one(_put_files),
    "VolumeGetFile2": _one(_get_file),
    "VolumeListFiles2": _list_files,
    "VolumeRemoveFile2": _one(_remove_file),
    "SandboxCreate": _one(_create),
    "SandboxGetTaskId": _one(_task_id),
    "SandboxWait": _one(_wait),
    "SandboxTerminate": _one(_terminate),
    "SandboxListV2": _one(_list),
    "SandboxGetFromName": _one(_by_name),
    "SandboxGetFromNameV2": _one(_by_name_v2),
    "SandboxTagsGet": _one(_tags_of),
    "SandboxGetTimeRangeStats": _one(_stats),
    "AppFetchLogs": _one(_fetch_logs),
    "AppCountLogs": _one(_count_logs),
    "WorkspaceBillingRates": _one(_rates),
    "WorkspaceBillingReport": _report,
}
"""What is served; everything else is UNIMPLEMENTED."""
