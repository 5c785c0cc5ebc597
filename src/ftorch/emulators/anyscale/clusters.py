"""Clusters: which machines a compute config asks for, what happened to them, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ftorch.emulators.anyscale.accounts import INSTANCE_TYPES, PER_HOUR
from ftorch.emulators.anyscale.schemas import ComputeConfig, Node
from ftorch.emulators.server import RefusedError

_CUSTOM = "custom"
"""The instance type of a machine that is described by what it must have."""
_LABEL = "ray.io/accelerator-type"


@dataclass(frozen=True, slots=True)
class Event:
    """A machine came up or went down: what the bill is made from."""

    at: datetime
    cluster_id: str
    machine: int
    accelerator: str
    what: Literal["up", "down"]


@dataclass(slots=True)
class Cluster:
    """The machines of one job. A retry of the job uses them again."""

    id: str
    machines: Sequence[str]
    """Accelerators, that of the head first; empty for none."""
    events: list[Event] = field(default_factory=list)

    def up(self, at: datetime) -> None:
        self._happened(at, "up")

    def down(self, at: datetime) -> None:
        """Twice is harmless, and so is one that never was up."""
        if self.events and self.events[-1].what == "up":
            self._happened(at, "down")

    def _happened(self, at: datetime, what: Literal["up", "down"]) -> None:
        self.events += [Event(at, self.id, number, one, what) for number, one in enumerate(self.machines)]


def machines(config: ComputeConfig) -> tuple[str, ...]:
    """What a cluster of this config consists of, once all that it must have is there. Refuses what nobody offers."""
    groups = config.worker_node_types or []
    return (_accelerator(config.head_node_type), *(one for group in groups for one in _of_group(group)))


def _of_group(group: Node) -> Iterator[str]:
    for _ in range(getattr(group, "min_workers", None) or 0):
        yield _accelerator(group)


def _accelerator(node: Node) -> str:
    wanted = node.required_resources
    if node.instance_type and node.instance_type in INSTANCE_TYPES:
        return INSTANCE_TYPES[node.instance_type]
    if node.instance_type != _CUSTOM or wanted is None or not wanted.memory:
        raise RefusedError(400, "invalid", f"Invalid instance type: {node.instance_type}")
    named = wanted.accelerator or (node.required_labels or {}).get(_LABEL, "")
    if named not in PER_HOUR or bool(wanted.gpu) != bool(named):
        raise RefusedError(400, "invalid", f"No machine has {wanted.gpu or 0} GPU of type {named!r}")
    return named
