"""RPCs of sandboxes and their logs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message
from modal_proto import api_pb2

from ftorch.emulators.modal.sandboxes import Order, Sandbox
from ftorch.emulators.modal.wire import Call, Rpc, nanoseconds, result, single, timestamp_ns
from ftorch.emulators.server import RefusedError

PAGE = 10
"""Sandboxes in a page of the list."""


def _create(call: Call, request: Any) -> Message:
    sandbox = call.service.create(call.account, _order(request), call.idempotency_key)
    metadata = api_pb2.SandboxHandleMetadata(app_id=request.app_id)
    return api_pb2.SandboxCreateResponse(sandbox_id=sandbox.id, metadata=metadata)


def _task_id(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    if sandbox.is_over and not sandbox.task_id:
        return api_pb2.SandboxGetTaskIdResponse(task_result=result(sandbox.status, sandbox.exit_code))
    return api_pb2.SandboxGetTaskIdResponse(task_id=sandbox.task_id)


def _wait(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    metadata = api_pb2.SandboxHandleMetadata(app_id=sandbox.order.app_id)
    return api_pb2.SandboxWaitResponse(result=result(sandbox.status, sandbox.exit_code), metadata=metadata)


def _terminate(call: Call, request: Any) -> Message:
    sandbox = call.service.sandbox(call.account, request.sandbox_id)
    before = result(sandbox.status, sandbox.exit_code)
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


def _fetch_logs(call: Call, request: Any) -> Message:
    start, end = nanoseconds(request.since), nanoseconds(request.until)
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
    start, end = nanoseconds(request.since), nanoseconds(request.until)
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
            bucket_type(bucket_start_at=timestamp_ns(bucket), stdout_logs=count)
            for bucket, count in sorted(counts.items())
        ],
    )


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


def _tags(tags: Mapping[str, str]) -> list[Any]:
    return [api_pb2.SandboxTag(tag_name=name, tag_value=value) for name, value in tags.items()]


ROUTES: Mapping[str, Rpc] = {
    "SandboxCreate": single(_create),
    "SandboxGetTaskId": single(_task_id),
    "SandboxWait": single(_wait),
    "SandboxTerminate": single(_terminate),
    "SandboxListV2": single(_list),
    "SandboxGetFromName": single(_by_name),
    "SandboxGetFromNameV2": single(_by_name_v2),
    "SandboxTagsGet": single(_tags_of),
    "AppFetchLogs": single(_fetch_logs),
    "AppCountLogs": single(_count_logs),
}
