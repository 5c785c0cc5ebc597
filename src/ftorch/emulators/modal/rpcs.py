"""What each RPC does: its name, what it is given, what it answers. Only what is in `ROUTES` is served."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from google.protobuf.message import Message
from modal_proto import api_pb2

from ftorch.emulators.modal import money_rpcs, sandbox_rpcs
from ftorch.emulators.modal.sandboxes import Status
from ftorch.emulators.modal.volumes import BLOCK, Entry
from ftorch.emulators.modal.wire import Call, Rpc, empty, result, single
from ftorch.emulators.server import RefusedError

_BUILDER = "2025.06"
_MADE = api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
_FOUND_OR_MADE = (_MADE, api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING)


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
    return empty()


def _get_tags(call: Call, request: Any) -> Message:
    return api_pb2.AppGetTagsResponse(tags=call.service.app_tags.get(request.app_id, {}))


def _image(call: Call, request: Any) -> Message:
    """An image by what it is made of; one that is not built yet has no result, and whoever wants it joins the build."""
    image_id = f"im-{hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()[:22]}"
    status = Status.SUCCESS if image_id in call.service.images else Status.UNSPECIFIED
    return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=result(status, 0), metadata=_image_metadata())


def _image_from_id(_call: Call, request: Any) -> Message:
    return api_pb2.ImageFromIdResponse(image_id=request.image_id, metadata=_image_metadata())


def _built(call: Call, request: Any) -> Message:
    """The build, which takes no time."""
    outcome = result(Status.FAILURE if call.service.image_failure else Status.SUCCESS, 0)
    outcome.exception = call.service.image_failure
    if not call.service.image_failure:
        call.service.images.add(request.image_id)
    return api_pb2.ImageJoinStreamingResponse(result=outcome, eof=True, metadata=_image_metadata())


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
    return empty()


def _app_metadata(app_id: str, name: str) -> Any:
    return api_pb2.AppHandleMetadata(app_id=app_id, description=name, environment_name="main")


def _image_metadata() -> Any:
    return api_pb2.ImageMetadata(python_version_info="Python 3.12.11", image_builder_version=_BUILDER)


def _entry(entry: Entry) -> Any:
    kind = api_pb2.FileEntry.DIRECTORY if entry.is_folder else api_pb2.FileEntry.FILE
    return api_pb2.FileEntry(path=entry.path, type=kind, mtime=entry.modified_s, size=entry.size)


def _base64(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


ROUTES: Mapping[str, Rpc] = {
    "ClientHello": single(_hello),
    "AuthTokenGet": single(_token),
    "WorkspaceNameLookup": single(_workspace),
    "EnvironmentGetOrCreate": single(_environment),
    "AppGetOrCreate": single(_app),
    "AppList": single(_apps),
    "AppSetTags": single(_set_tags),
    "AppGetTags": single(_get_tags),
    "ImageGetOrCreate": single(_image),
    "ImageFromId": single(_image_from_id),
    "ImageJoinStreaming": single(_built),
    "SecretGetOrCreate": single(_secret),
    "VolumeGetOrCreate": single(_volume),
    "VolumeList": single(_volumes),
    "VolumePutFiles2": single(_put_files),
    "VolumeGetFile2": single(_get_file),
    "VolumeListFiles2": _list_files,
    "VolumeRemoveFile2": single(_remove_file),
    **sandbox_rpcs.ROUTES,
    **money_rpcs.ROUTES,
}
"""What is served; everything else is UNIMPLEMENTED."""
