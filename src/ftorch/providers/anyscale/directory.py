"""Ids behind names: cloud, project, image, compute config. Asked once and kept for a while: they rarely change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ftorch.core.clock import Clock
from ftorch.core.errors import CredentialsError, RunNotFoundError
from ftorch.manifest.plan import Plan
from ftorch.providers.anyscale import api, machines
from ftorch.providers.anyscale.answers import Cloud
from ftorch.providers.anyscale.errors import refused
from ftorch.providers.base import Placement
from ftorch.providers.http import Http

_KEPT_S = 600.0
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plan's jobs go."""

    cloud: Cloud
    project_id: str
    build_id: str


class Directory:
    """What is behind names. Threads may share it: what two ask at once is asked twice."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: dict[tuple[str, ...], tuple[float, Any]] = {}

    def place(self, plan: Plan) -> Place:
        """Raises RunRejectedError for a name that Anyscale has not."""
        options = plan.options.get("anyscale", {})
        named = tuple(str(options.get(name, "")) for name in ("cloud", "project", "image_uri"))
        return self._kept(("place", *named), lambda: self._place(*named))

    def compute(self, placement: Placement, cloud_id: str) -> str:
        """The id of a placement's compute config, which is made when it is not there: no machine is rented by it."""
        if named := placement.detail.get("compute_config"):
            return self._kept(("compute", cloud_id, named), lambda: self._users_own(named, cloud_id))
        head = self._default_head(cloud_id) if machines.workers_of(placement) > 1 else None
        config = machines.cluster(placement, cloud_id, head)
        name = machines.cluster_name(config)
        return self._kept(("compute", cloud_id, name), lambda: self._ours(name, config))

    def is_hosted(self, cloud_id: str) -> bool | None:
        """Whether its machines are on Anyscale's bill; None where the cloud is gone, or this token may not see it."""
        return self._kept(("cloud", cloud_id), lambda: self._is_hosted(cloud_id))

    def _place(self, cloud_name: str, project_name: str, image_uri: str) -> Place:
        try:
            cloud = api.cloud_named(self._http, cloud_name) if cloud_name else api.default_cloud(self._http)
            project = (
                api.project_named(self._http, project_name, cloud.id)
                if project_name
                else api.default_project(self._http, cloud.id)
            )
        except RunNotFoundError as error:
            raise refused(error.message, "change provider.anyscale.cloud or provider.anyscale.project") from error
        build = api.build_of_image(self._http, image_uri) if image_uri else api.default_build(self._http)
        return Place(cloud, project.id, build.id)

    def _is_hosted(self, cloud_id: str) -> bool | None:
        with suppress(RunNotFoundError, CredentialsError):
            return api.cloud(self._http, cloud_id, operation="line_items").is_aioa
        return None

    def _default_head(self, cloud_id: str) -> str | None:
        def ask() -> str | None:
            return api.default_compute(self._http, cloud_id).config.head_node_type.instance_type

        return self._kept(("head", cloud_id), ask)

    def _users_own(self, named: str, cloud_id: str) -> str:
        name, version = machines.named_config(named)
        found = api.compute_named(self._http, name, version, cloud_id)
        if found is None:
            raise refused(f"anyscale has no compute config {named!r}", "change provider.anyscale.compute_config")
        return found.id

    def _ours(self, name: str, config: Mapping[str, Any]) -> str:
        found = api.compute_named(self._http, name, -1, str(config["cloud_id"]))
        return found.id if found else api.create_compute(self._http, name, config).id

    def _kept(self, key: tuple[str, ...], ask: Callable[[], _Value]) -> _Value:
        now_s = self._clock.boot_s()
        if key in self._known and now_s - self._known[key][0] < _KEPT_S:
            known: _Value = self._known[key][1]
            return known
        value = ask()
        self._known[key] = (now_s, value)
        return value
