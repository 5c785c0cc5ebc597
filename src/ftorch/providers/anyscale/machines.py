"""Machines for a plan: one GPU for each worker, what they cost an hour, and the cluster that has them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import ceil
from typing import Any

from ftorch.costs.book.gpus import find_gpu, is_asked
from ftorch.costs.book.listed import ListedPrice, price_book
from ftorch.costs.book.memory import memory_need
from ftorch.manifest.plan import Plan
from ftorch.providers.anyscale.errors import refused
from ftorch.providers.base import Placement

CPUS = 8
"""Of each machine; the price book counts them with its GPU."""
_CPU_HOUR = Decimal("0.0135")
_HEAD_RATE = CPUS * _CPU_HOUR
"""Several workers leave the head to Ray: a machine without GPU."""
_BASE_MEMORY_GIB = 16
"""For the libraries; the weights on their way to the GPU come on top."""
_LEAST_MEMORY_GIB = 24
"""Of the smallest machine with a GPU and eight CPUs that clouds have, 32 GiB, what surely is left."""
_UNKNOWN_SIZE_GB = 80
_ACCELERATORS: Mapping[str, str] = {"A100-80GB": "A100-80G", "A100-40GB": "A100-40G"}
"""GPUs whose name at Anyscale and Ray is another one."""
_CUSTOM = "custom"
"""The instance type of a machine that is described by what it must have."""
_NO_WORK: Mapping[str, int] = {"cpu": 0, "gpu": 0}
_NAMED = re.compile(r"(?P<name>[^:]+)(:(?P<version>[1-9][0-9]{0,8}))?")
"""A compute config of the user's: what Anyscale's own SDK takes, whose versions are numbers from 1 on."""
_NEWEST = -1
_OTHER_NAMES: Mapping[str, str] = {"A10": "A10G"}


def placements(plan: Plan) -> Sequence[Placement]:
    """The GPUs that the plan accepts, cheapest first. Raises RunRejectedError for one that Anyscale has not."""
    listed = price_book(plan.own_prices).of("anyscale")
    chosen = _asked(plan, listed) if plan.resources.gpu else _fitting(plan, listed)
    _check_machines(plan, chosen)
    return [_placement(plan, price) for price in chosen]


def memory_gib(plan: Plan) -> int:
    """What each machine must have beside its GPU."""
    need = memory_need(plan)
    return max(_LEAST_MEMORY_GIB, _BASE_MEMORY_GIB + (ceil(need.weights) if need else 0))


def named_config(text: str) -> tuple[str, int]:
    """The name and the version of `NAME` or `NAME:VERSION`; without one, what Anyscale takes for the newest.

    Raises RunRejectedError for anything else.
    """
    found = _NAMED.fullmatch(text)
    if found is None:
        raise refused(
            f"provider.anyscale.compute_config {text!r} is neither NAME nor NAME:VERSION, whose versions are numbers",
            "write the name alone for its newest version, or a number behind it, such as machines:2",
        )
    return found["name"], int(found["version"] or _NEWEST)


def workers_of(placement: Placement) -> int:
    """How many: in what the database keeps of a placement, too."""
    return int(placement.detail["workers"])


def cluster(placement: Placement, cloud_id: str, head_instance: str | None) -> dict[str, Any]:
    """The compute config of a placement, as Anyscale's own SDK writes one.

    One worker: the head has the GPU, and nothing else is there. Several: one machine for each beside a head that does
    no work; `head_instance` is then the cloud's own choice for it.
    """
    workers = workers_of(placement)
    if workers == 1:
        head, groups = _node("head-node", placement), list[dict[str, Any]]()
    else:
        head = {"name": "head-node", "instance_type": head_instance, "resources": dict(_NO_WORK)}
        fixed = {"min_workers": workers, "max_workers": workers, "use_spot": False, "fallback_to_ondemand": False}
        groups = [{**_node("workers", placement), **fixed}]
    deployment = {
        "head_node_type": head,
        "worker_node_types": groups,
        "auto_select_worker_config": False,
        "flags": {"allow-cross-zone-autoscaling": False},
    }
    return {"cloud_id": cloud_id, "deployment_configs": [deployment], **deployment}


def cluster_name(config: Mapping[str, Any]) -> str:
    """By its content: the same machines have one compute config, whoever made it first."""
    return f"ftorch-{hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]}"


def _node(name: str, placement: Placement) -> dict[str, Any]:
    if instance := placement.detail.get("instance_type"):
        return {"name": name, "instance_type": instance}
    detail = placement.detail
    wanted = {"cpu": CPUS, "gpu": 1, "memory": int(detail["memory_gib"]) << 30, "accelerator": detail["accelerator"]}
    return {"name": name, "instance_type": _CUSTOM, "required_resources": wanted}


def _placement(plan: Plan, price: ListedPrice) -> Placement:
    options, workers = plan.options.get("anyscale", {}), plan.resources.workers
    rate = price.rate * workers + (_HEAD_RATE if workers > 1 else 0)
    named = price.gpu or price.name
    detail = {
        "workers": str(workers),
        "accelerator": _ACCELERATORS.get(named, named),
        "memory_gib": str(memory_gib(plan)),
    }
    if instance := options.get("instance_type"):
        detail["instance_type"] = str(instance)
    if known := options.get("compute_config"):
        detail["compute_config"] = str(known)
    return Placement(price.name, rate, detail, gpu=price.gpu, gpus=workers)


def _asked(plan: Plan, listed: Sequence[ListedPrice]) -> list[ListedPrice]:
    """Those that the plan names, whether the training fits or not."""
    asked = [_OTHER_NAMES.get(name.upper(), name) for name in plan.resources.gpu]
    for name in asked:
        if not any(_is(price, [name]) for price in listed):
            known = ", ".join(price.name for price in listed)
            raise refused(
                f"anyscale has no GPU {name!r} with a price; it has {known}",
                f'change resources.gpu, or give [prices.anyscale."{name}"] in ftorch.toml',
                "placements",
            )
    return [price for price in listed if _is(price, asked)]


def _fitting(plan: Plan, listed: Sequence[ListedPrice]) -> list[ListedPrice]:
    need = memory_need(plan)
    needed = need.total if need else _UNKNOWN_SIZE_GB
    fitting = [price for price in listed if (gpu := find_gpu(price.gpu)) and gpu.memory_gb >= needed]
    if not fitting:
        raise refused(
            f"{plan.base_model.id} needs about {needed} GB on one GPU, more than any at anyscale has",
            "set method.quantize to 4bit, or choose a smaller base model",
            "placements",
        )
    return fitting


def _is(price: ListedPrice, asked: Sequence[str]) -> bool:
    return is_asked(price.name, asked) or is_asked(price.gpu, asked)


def _check_machines(plan: Plan, chosen: Sequence[ListedPrice]) -> None:
    """Machines that the user names himself have one price."""
    options = plan.options.get("anyscale", {})
    for name in ("instance_type", "compute_config"):
        if options.get(name) and len(chosen) != 1:
            raise refused(
                f"provider.anyscale.{name} names the machines, and resources.gpu does not name the one GPU in them",
                f"name it in resources.gpu, or leave {name} out",
                "placements",
            )
