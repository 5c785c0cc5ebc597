"""An order as Ray's Jobs API understands it, and what we read back from the job that it made."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement, RunOrder
from ftorch.providers.ray.api import Job, NewJob
from ftorch.providers.ray_jobs import contract
from ftorch.providers.ray_jobs.package import requirements

PACKAGE, URI, OUTPUT_URI = "package", "uri", "output_uri"
"""What `Staged.detail` holds: the zip on this machine, its name at Ray, and where the run is copied to."""
_RATE, _OUTPUT = "ftorch_rate", "ftorch_output_uri"


def options(plan: Plan) -> Mapping[str, Any]:
    return plan.options.get("ray", {})


def new_job(order: RunOrder) -> NewJob:
    """One process takes a GPU, or a core. Several workers are placed by Ray Train, and their driver takes nothing."""
    chosen, detail = options(order.plan), order.staged.detail
    use_gpu = not chosen.get("cpu", False)
    is_alone = order.plan.resources.workers == 1
    environment = contract.environment(order, output_uri=detail.get(OUTPUT_URI) or None, use_gpu=use_gpu)
    packages = {"pip": list(requirements())} if chosen.get("install", False) else {}
    return NewJob(
        entrypoint=contract.ENTRYPOINT,
        submission_id=order.key,
        runtime_env={"working_dir": detail[URI], "env_vars": dict(environment), **packages},
        metadata=_metadata(order.placement, detail.get(OUTPUT_URI)),
        entrypoint_num_cpus=1 if is_alone and not use_gpu else None,
        entrypoint_num_gpus=1 if is_alone and use_gpu else None,
    )


def rate_of(job: Job) -> Decimal | None:
    """The price per hour that was declared when the job was made."""
    rate = (job.metadata or {}).get(_RATE)
    return Decimal(rate) if rate else None


def output_uri_of(job: Job) -> str | None:
    return (job.metadata or {}).get(_OUTPUT)


def _metadata(placement: Placement, output_uri: str | None) -> dict[str, str]:
    rate = {_RATE: f"{placement.rate:f}"} if placement.rate is not None else {}
    return {**rate, **({_OUTPUT: output_uri} if output_uri else {})}
