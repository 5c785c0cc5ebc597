"""An order as Anyscale takes it: the create, and what must be right before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from ftorch.core.ids import installation_of
from ftorch.core.money import exact
from ftorch.manifest.plan import Plan
from ftorch.providers.anyscale import api
from ftorch.providers.anyscale.capabilities import START_S
from ftorch.providers.anyscale.errors import refused
from ftorch.providers.anyscale.machines import named_config, workers_of
from ftorch.providers.base import Placement, RunOrder
from ftorch.providers.ray_jobs import contract
from ftorch.providers.ray_jobs.package import requirements
from ftorch.providers.ray_jobs.store import PACKAGES

WORKING_DIR, CLOUD, PROJECT, BUILD, OUTPUT = "working_dir", "cloud", "project", "build", "output_uri"
MACHINES = "machines"
"""What `Staged.detail` holds."""
HOSTED, OWN = "anyscale's machines", "machines of an own cloud"
"""What is at `MACHINES`: whose they are."""
_NEEDS_A_PACKAGE = "builtin:smollm2-135m"
_NOTE = re.compile(
    rf"^ftorch: (?P<machines>.+) at (?P<rate>[\d.]+|no known price)( USD per hour)?(, (?P<whose>{HOSTED}|{OWN}))?.*"
    r"; output (?P<uri>\S+)$"
)


@dataclass(frozen=True, slots=True)
class Note:
    """A job's description: what we must know of it when nobody remembers its order. Lists do not tell its tags."""

    machines: str
    rate: Decimal | None
    output_uri: str
    is_hosted: bool | None = None
    """The machines are Anyscale's own, and on its bill; None where that was not noted."""

    @property
    def text(self) -> str:
        price = f"{exact(self.rate)} USD per hour" if self.rate is not None else "no known price"
        whose = "" if self.is_hosted is None else f", {HOSTED if self.is_hosted else OWN}"
        return f"ftorch: {self.machines} at {price}{whose}; output {self.output_uri}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        found = _NOTE.match(text or "")
        if found is None:
            return None
        rate = None if found["rate"] == "no known price" else Decimal(found["rate"])
        return cls(found["machines"], rate, found["uri"], _is_hosted(found["whose"]))


def check(plan: Plan) -> None:
    """What must be right before a cent is spent. Raises RunRejectedError."""
    contract.check(plan, "anyscale")
    if plan.base_model.id == _NEEDS_A_PACKAGE:
        raise refused(
            f"anyscale's machines have no weights of {plan.base_model.id}",
            "name HuggingFaceTB/SmolLM2-135M-Instruct, which comes from the Hub",
        )
    if named := plan.options.get("anyscale", {}).get("compute_config"):
        named_config(str(named))
    uri = output_uri(plan)
    if not uri:
        raise refused(
            "provider.anyscale.output_uri is missing: a cluster is gone with its disks, and the adapter would be too",
            "set it to a bucket that the cluster writes and you read, such as s3://BUCKET/ftorch",
        )
    if re.search(r"\s", uri):
        raise refused(f"provider.anyscale.output_uri {uri!r} has a space in it", "write s3://BUCKET/PREFIX")


def output_uri(plan: Plan) -> str:
    return str(plan.options.get("anyscale", {}).get("output_uri", "")).rstrip("/")


def note(placement: Placement, staged: Mapping[str, str]) -> Note:
    machines = f"{workers_of(placement)} x {placement.name}"
    return Note(machines, placement.rate, staged[OUTPUT], _is_hosted(staged.get(MACHINES)))


def create_body(order: RunOrder, compute_id: str) -> dict[str, Any]:
    """Never retried by Anyscale, and ended by it in time. The name carries the key, for bills know names alone."""
    staged = order.staged.detail
    return {
        "name": order.key,
        "description": note(order.placement, staged).text,
        "project_id": staged[PROJECT],
        "config": {
            "entrypoint": contract.ENTRYPOINT,
            "runtime_env": {
                "working_dir": staged[WORKING_DIR],
                "env_vars": dict(contract.environment(order, output_uri=staged[OUTPUT], use_gpu=True)),
                **_installed(order.plan),
            },
            "build_id": staged[BUILD],
            "compute_config_id": compute_id,
            "max_retries": 0,
            **_timeout(order),
        },
        "tags": {
            api.RUN_TAG: order.key,
            api.INSTALLATION_TAG: installation_of(order.key) or "",
            api.PLAN_TAG: order.plan.hash[:16],
        },
    }


def _is_hosted(whose: str | None) -> bool | None:
    """None for what was staged, or noted, when that was not written down yet."""
    return None if whose is None else whose == HOSTED


def _timeout(order: RunOrder) -> dict[str, int]:
    """The trainer ends by itself at the deadline, and saves; Anyscale's own end comes where it does not."""
    return {} if order.max_duration_s is None else {"timeout_s": order.max_duration_s + int(START_S)}


def _installed(plan: Plan) -> dict[str, list[str]]:
    """Packages for an image that has not got them: each run pays for their installation."""
    options = plan.options.get("anyscale", {})
    if not options.get("install", "image_uri" not in options):
        return {}
    storage = PACKAGES.get(output_uri(plan).partition("://")[0])
    return {"pip": [*requirements(), *([storage] if storage else [])]}
