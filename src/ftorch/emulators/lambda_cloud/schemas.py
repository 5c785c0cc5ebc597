"""What may be asked and what is answered: strict models, so that neither drifts. An unknown key is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Status = Literal["booting", "active", "unhealthy", "terminating", "terminated", "preempted"]
TagKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-:]+$", max_length=55)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tag(Body):
    key: TagKey
    value: Annotated[str, Field(max_length=128)]


class ImageFamily(Body):
    family: str


class LaunchRequest(Body):
    region_name: str
    instance_type_name: str
    ssh_key_names: Annotated[list[str], Field(min_length=1, max_length=1)]
    name: Annotated[str, Field(max_length=64)] | None = None
    hostname: str | None = None
    image: ImageFamily | None = None
    user_data: Annotated[str, Field(max_length=1 << 20)] | None = None
    tags: list[Tag] | None = None
    file_system_names: list[str] | None = None


class TerminateRequest(Body):
    instance_ids: Annotated[list[str], Field(min_length=1)]


class SshKeyRequest(Body):
    name: Annotated[str, Field(max_length=64)]
    public_key: str


class UserFile(Body):
    path: Annotated[str, Field(pattern="^/")]
    content: str
    permissions: Annotated[str, Field(pattern="^0[0-7]{3}$")] = "0644"
    owner: str = "root:root"


class HostKeys(Body):
    ed25519_private: str
    ed25519_public: str


class CloudConfig(Body):
    """The part of cloud-init's schema that is carried out here."""

    ssh_deletekeys: bool = True
    ssh_keys: HostKeys | None = None
    write_files: list[UserFile] = []
    runcmd: list[list[str]] = []


def cloud_config(user_data: str) -> CloudConfig:
    """Raises ValueError for what cloud-init would not read, or would read and is not carried out here."""
    head, _, text = user_data.partition("\n")
    if head != "#cloud-config":
        raise ValueError("user_data does not begin with #cloud-config")
    # JSON is YAML; a document that is only YAML is refused here rather than read differently.
    return CloudConfig.model_validate_json(json.dumps(json.loads(text)))


class Region(Body):
    name: str
    description: str


class Specs(Body):
    vcpus: int
    memory_gib: int
    storage_gib: int
    gpus: int


class InstanceType(Body):
    name: str
    description: str
    gpu_description: str
    price_cents_per_hour: int
    specs: Specs
    architecture: str = "x86_64"


class Offer(Body):
    instance_type: InstanceType
    regions_with_capacity_available: list[Region]


class Availability(Body):
    available: bool
    reason_code: str | None = None
    reason_description: str | None = None


class Actions(Body):
    migrate: Availability
    rebuild: Availability
    restart: Availability
    cold_reboot: Availability
    terminate: Availability


class Instance(Body):
    id: str
    status: Status
    name: str | None = None
    ip: str | None = None
    ssh_key_names: list[str]
    file_system_names: list[str] = []
    region: Region
    instance_type: InstanceType
    actions: Actions
    tags: list[Tag] = []
    jupyter_token: str | None = None
    jupyter_url: str | None = None
    first_healthy: str | None = None


class SshKey(Body):
    id: str
    name: str
    public_key: str


class AuditEvent(Body):
    service_name: str
    resource_name: str
    action: str
    catalog_version: str = "1"
    event_id: str
    event_time: str
    actor_lrn: str | None = None
    resource_lrns: list[str]
    resource_owner_lrn: str | None = None
    request_api_key_lrn: str | None = None
    additional_details: dict[str, JsonValue] = {}


def value(model: BaseModel) -> dict[str, Any]:
    """The model as JSON has it: what is not given is left out, except what Lambda answers with null."""
    written: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    nulls = _NULLS.get(type(model), ())
    return {**dict.fromkeys(nulls), **written}


_NULLS: Mapping[type[BaseModel], tuple[str, ...]] = {
    Instance: ("first_healthy",),
    AuditEvent: ("actor_lrn", "resource_owner_lrn", "request_api_key_lrn"),
}
