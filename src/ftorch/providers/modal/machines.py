"""Machines for a plan, and what they cost an hour: GPU, cores and memory together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any, Self

from ftorch.core.errors import RunRejectedError
from ftorch.costs.book.gpus import find_gpu, is_asked
from ftorch.costs.book.memory import MemoryNeed, memory_need
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement

Rates = Mapping[str, Decimal]
"""USD per hour by Modal's own names."""

_CORES = 1
_BASE_MEMORY_GIB = 16
_UNKNOWN_SIZE_GB = 80
_OTHER_NAMES: Mapping[str, str] = {"A10G": "A10"}
_MACHINE = re.compile(r"^(?P<gpu>.+)_(?P<cores>\d+)c_(?P<memory>\d+)g$")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a sandbox asks for. Cores and memory are limits too, so that it never costs more than its rate."""

    gpu: str
    cores: int
    memory_gib: int

    @property
    def tag(self) -> str:
        """As a sandbox carries it: what we need to know its rate when nobody remembers its order."""
        return f"{self.gpu}_{self.cores}c_{self.memory_gib}g"

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        found = _MACHINE.match(tag)
        return cls(found["gpu"], int(found["cores"]), int(found["memory"])) if found else None

    def rate(self, rates: Rates) -> Decimal | None:
        """USD per hour of all of it; None for a GPU without a price."""
        sandbox, gpu = _list()["sandbox"], _gpus().get(self.gpu)
        if gpu is None:
            return None
        return (
            _price(rates, gpu["key"], gpu["usd"])
            + _price(rates, sandbox["core_key"], sandbox["core"]) * self.cores
            + _price(rates, sandbox["memory_gib_key"], sandbox["memory_gib"]) * self.memory_gib
        )


def placements(plan: Plan, rates: Rates) -> Sequence[Placement]:
    """The GPUs that the plan accepts, cheapest first. Raises RunRejectedError for one that Modal has not."""
    found = [_placement(machine, rates) for machine in _machines(plan)]
    return sorted(found, key=lambda placement: placement.rate or Decimal("Infinity"))


def machine_of(placement: Placement) -> Machine:
    """The machine that a placement stands for."""
    machine = Machine.parse(placement.detail["machine"])
    if machine is None:
        raise ValueError(f"{placement.detail['machine']!r} is no machine of Modal's")
    return machine


def price_source() -> str:
    """Where the price list comes from, with its date."""
    return f"{_list()['source']}, read on {_list()['read']}"


def _placement(machine: Machine, rates: Rates) -> Placement:
    return Placement(machine.gpu, machine.rate(rates), {"machine": machine.tag}, gpu=machine.gpu)


def _machines(plan: Plan) -> list[Machine]:
    options, need = plan.options.get("modal", {}), memory_need(plan)
    memory = options.get("memory_gib") or _memory_gib(need)
    names = _asked(plan) if plan.resources.gpu else _fitting(plan, need)
    return [Machine(name, int(options.get("cores") or _CORES), int(memory)) for name in names]


def _asked(plan: Plan) -> list[str]:
    """Those that the plan names, whether the training fits or not."""
    asked = [_OTHER_NAMES.get(name.upper(), name) for name in plan.resources.gpu]
    for name in asked:
        if not any(is_asked(known, [name]) for known in _gpus()):
            raise _no_such_gpu(name)
    return [known for known in _gpus() if is_asked(known, asked)]


def _fitting(plan: Plan, need: MemoryNeed | None) -> list[str]:
    needed = need.total if need else _UNKNOWN_SIZE_GB
    fitting = [name for name in _gpus() if (gpu := find_gpu(name)) and gpu.memory_gb >= needed]
    if not fitting:
        raise RunRejectedError(
            f"{plan.base_model.id} needs about {needed} GB on one GPU, more than any at modal has",
            provider="modal",
            operation="placements",
            hint="set method.quantize to 4bit, or choose a smaller base model",
        )
    return fitting


def _no_such_gpu(name: str) -> RunRejectedError:
    return RunRejectedError(
        f"modal has no GPU {name!r}; it has {', '.join(_gpus())}",
        provider="modal",
        operation="placements",
        hint="change resources.gpu",
    )


def _memory_gib(need: MemoryNeed | None) -> int:
    """For the libraries, and the weights on their way to the GPU."""
    return _BASE_MEMORY_GIB + (ceil(need.weights) if need else 0)


def _price(rates: Rates, key: str, listed: str) -> Decimal:
    return rates.get(key) or Decimal(listed)


def _gpus() -> Mapping[str, Mapping[str, Any]]:
    return {gpu["name"]: gpu for gpu in _list()["gpu"]}


@cache
def _list() -> dict[str, Any]:
    return tomllib.loads((files("ftorch.providers.modal") / "prices.toml").read_text(encoding="utf-8"))
