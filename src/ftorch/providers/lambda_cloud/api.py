"""Lambda Cloud's API v1: what is asked, what it answers, one method per endpoint, all at one pace.

Answers keep only what is used: tokens of a machine's notebook stay out of memory and logs. Unknown words stay words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ftorch.core.errors import NoCapacityError, RunNotFoundError, RunRejectedError
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud.pace import Pacer

IMAGE = "lambda-stack-24-04"
_NO_ROOM = "instance-operations/launch/insufficient-capacity"
_MOST_PAGES = 1000


class Answer(BaseModel):
    """Fields that we do not know are left out."""

    model_config = ConfigDict(frozen=True)


class Region(Answer):
    name: str


class Specs(Answer):
    gpus: int = 0


class InstanceType(Answer):
    name: str
    gpu_description: str = ""
    price_cents_per_hour: int
    specs: Specs = Specs()


class Offer(Answer):
    instance_type: InstanceType
    regions_with_capacity_available: tuple[Region, ...] = ()


class Tag(Answer):
    key: str
    value: str


class Instance(Answer):
    id: str
    status: str
    name: str | None = None
    ip: str | None = None
    region: Region
    instance_type: InstanceType
    tags: tuple[Tag, ...] = ()
    first_healthy: AwareDatetime | None = None

    def tag(self, key: str) -> str | None:
        return next((tag.value for tag in self.tags if tag.key == key), None)

    @property
    def place(self) -> str:
        return f"{self.instance_type.name}@{self.region.name}"


class SshKey(Answer):
    id: str
    name: str
    public_key: str = ""


class Event(Answer):
    action: str = ""
    event_time: AwareDatetime
    resource_lrns: tuple[str, ...] = ()


class _Types(Answer):
    data: Mapping[str, Offer]


class _Instances(Answer):
    data: tuple[Instance, ...]
    page_token: str | None = None


class _One(Answer):
    data: Instance


class _Launched(Answer):
    class Ids(Answer):
        instance_ids: tuple[str, ...] = Field(min_length=1)

    data: Ids


class _Terminated(Answer):
    class List(Answer):
        terminated_instances: tuple[Instance, ...] = ()

    data: List


class _SshKeys(Answer):
    data: tuple[SshKey, ...]


class _SshKey(Answer):
    data: SshKey


class _Nothing(Answer):
    pass


class _EventPage(Answer):
    events: tuple[Event, ...] = ()
    page_token: str | None = None


class _Events(Answer):
    """The page in both shapes that are known: a list with the token beside it, or both inside `data`."""

    data: tuple[Event, ...] | _EventPage
    page_token: str | None = None

    @property
    def events(self) -> Sequence[Event]:
        return self.data.events if isinstance(self.data, _EventPage) else self.data

    @property
    def following(self) -> str | None:
        return self.data.page_token if isinstance(self.data, _EventPage) else self.page_token


class Launch(BaseModel):
    """The body of a launch. `user_data` holds keys: it is never shown."""

    region_name: str
    instance_type_name: str
    ssh_key_names: tuple[str]
    name: str = Field(max_length=64)
    image: Mapping[str, str] = {"family": IMAGE}
    user_data: str = Field(repr=False)
    tags: tuple[Tag, ...] = ()


class Api:
    """The endpoints. Threads may share it."""

    def __init__(self, http: Http, pacer: Pacer) -> None:
        self._http = http
        self._pacer = pacer

    def types(self, operation: str) -> Sequence[Offer]:
        """What there is, at which price, and where it can be had now."""
        self._pacer.request()
        return list(self._http.read("/instance-types", _Types, operation=operation).data.values())

    def launch(self, order: Launch, *, send_before: datetime, hidden: Collection[str]) -> str:
        """One launch, never a second one: the id of the machine."""
        self._pacer.launch(send_before)
        answer = self._http.create(
            "/instance-operations/launch",
            _Launched,
            send_before=send_before,
            json=order.model_dump(mode="json"),
            rejected={_NO_ROOM: NoCapacityError},
            hidden=hidden,
        )
        return answer.data.instance_ids[0]

    def instances(self, operation: str) -> Iterator[Instance]:
        """All machines of the workspace; those that have ended are gone from it."""
        params: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            self._pacer.request()
            page = self._http.read("/instances", _Instances, operation=operation, params=params)
            yield from page.data
            if not page.page_token:
                return
            params = {"page_token": page.page_token}

    def instance(self, instance_id: str, operation: str) -> Instance:
        """One machine. Raises RunNotFoundError."""
        self._pacer.request()
        path = f"/instances/{instance_id}"
        return self._http.read(path, _One, operation=operation, not_found=f"instance {instance_id}").data

    def terminate(self, instance_id: str, operation: str) -> Instance | None:
        """Ask for its end; again is harmless. None: it is gone, or on its way, and Lambda has no word for that."""
        self._pacer.request()
        try:
            answer = self._http.change(
                "POST",
                "/instance-operations/terminate",
                _Terminated,
                operation=operation,
                json={"instance_ids": [instance_id]},
                not_found=f"instance {instance_id}",
            )
        except (RunNotFoundError, RunRejectedError):
            # A machine that is ending already is answered with a 404 or with `global/unknown`: asking for it tells.
            return None
        return next((one for one in answer.data.terminated_instances if one.id == instance_id), None)

    def ssh_keys(self, operation: str) -> Sequence[SshKey]:
        self._pacer.request()
        return self._http.read("/ssh-keys", _SshKeys, operation=operation).data

    def add_ssh_key(self, name: str, public_key: str, operation: str) -> None:
        """Register a public key; a name that is taken is refused."""
        self._pacer.request()
        body = {"name": name, "public_key": public_key}
        self._http.change("POST", "/ssh-keys", _SshKey, operation=operation, json=body)

    def delete_ssh_key(self, key_id: str, operation: str) -> None:
        """Harmless when it is gone."""
        self._pacer.request()
        try:
            self._http.change("DELETE", f"/ssh-keys/{key_id}", _Nothing, operation=operation, not_found="such key")
        except (RunNotFoundError, RunRejectedError):
            return

    def events(self, start: datetime, end: datetime, operation: str) -> Iterator[Event]:
        """The audit log of a time, in whatever order Lambda has it."""
        params = {"start": start.isoformat(), "end": end.isoformat()}
        for _ in range(_MOST_PAGES):
            self._pacer.request()
            page = self._http.read("/audit-events", _Events, operation=operation, params=params)
            yield from page.events
            if not page.following:
                return
            params["page_token"] = page.following

    def close(self) -> None:
        self._http.close()
