"""Sandboxes: what was ordered, where they are, and what their time costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import IntEnum

from ftorch.emulators.modal.prices import per_hour

_HOUR = timedelta(hours=1)
_NANO = Decimal("1e-9")
OOM_EXIT = 137


class Status(IntEnum):
    """`GenericResult.GenericStatus`."""

    UNSPECIFIED = 0
    SUCCESS = 1
    FAILURE = 2
    TERMINATED = 3
    TIMEOUT = 4
    INIT_FAILURE = 5
    INTERNAL_FAILURE = 6
    KERNEL_OOM_KILL = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What `Sandbox.create` asked for."""

    app_id: str
    name: str
    tags: Mapping[str, str]
    argv: Sequence[str]
    volumes: Mapping[str, str]
    """Mount path -> volume id."""
    secret_ids: Sequence[str]
    image_id: str
    gpu: str
    gpu_count: int
    cores: Decimal
    memory_gib: Decimal
    timeout_s: int
    max_cores: Decimal = Decimal(0)
    """Where it is given, what the sandbox cannot use more of."""
    max_memory_gib: Decimal = Decimal(0)


@dataclass(slots=True)
class LogLine:
    """A line of output with its moment in nanoseconds since 1970."""

    at_ns: int
    text: str


@dataclass(slots=True)
class Sandbox:
    """One sandbox from its create on. It costs from `started_at` to `ended_at`."""

    id: str
    number: int
    account: str
    order: Order
    created_at: datetime
    is_listed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: Status = Status.UNSPECIFIED
    exit_code: int = 0
    lines: list[LogLine] = field(default_factory=list)
    surcharges: dict[datetime, Decimal] = field(default_factory=dict)
    """By clock hour: it has used more memory than it had asked for."""

    @property
    def task_id(self) -> str:
        """Empty until it is scheduled."""
        return f"ta-{self.id[3:]}" if self.started_at else ""

    @property
    def is_over(self) -> bool:
        return self.status is not Status.UNSPECIFIED

    def costs(self, until: datetime) -> Iterator[tuple[datetime, dict[str, Decimal]]]:
        """What it cost by clock hour and resource, as far as `until`."""
        end = min(self.ended_at or until, until)
        start = self.started_at
        while start is not None and start < end:
            hour = start.replace(minute=0, second=0, microsecond=0)
            stop = min(hour + _HOUR, end)
            cost = self._cost(stop - start)
            cost["Memory"] += self.surcharges.get(hour, Decimal(0))
            yield hour, cost
            start = stop

    def _cost(self, span: timedelta) -> dict[str, Decimal]:
        seconds = Decimal(span // timedelta(microseconds=1)).scaleb(-6)
        order = self.order
        rates = per_hour(order.gpu, order.gpu_count, order.cores, order.memory_gib)
        return {name: (rate * seconds / 3600).quantize(_NANO, rounding=ROUND_HALF_EVEN) for name, rate in rates.items()}


def added(costs: Iterator[dict[str, Decimal]]) -> dict[str, Decimal]:
    """Summed by resource."""
    total: dict[str, Decimal] = {}
    for cost in costs:
        for name, usd in cost.items():
            total[name] = total.get(name, Decimal(0)) + usd
    return total
