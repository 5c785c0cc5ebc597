"""The workspace's bill: a row for each object and clock hour, and what sandboxes cost by their tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.emulators.modal.sandboxes import Sandbox, added

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Row:
    """What an object cost in an hour."""

    object_id: str
    description: str
    hour: datetime
    resources: Mapping[str, Decimal]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def usd(self) -> Decimal:
        return sum(self.resources.values(), Decimal(0))


@dataclass(frozen=True, slots=True)
class Group:
    """What the sandboxes with the same values of some tags cost."""

    tags: Mapping[str, str | None]
    resources: Mapping[str, Decimal]


class Bill:
    """Rows come from sandboxes; others are added."""

    def __init__(self) -> None:
        self._others: dict[str, list[Row]] = {}

    def add(self, account: str, row: Row) -> None:
        """Something else in the workspace."""
        self._others.setdefault(account, []).append(row)

    def rows(
        self,
        account: str,
        sandboxes: Sequence[Sandbox],
        apps: Mapping[str, tuple[str, Mapping[str, str]]],
        now: datetime,
    ) -> list[Row]:
        """All rows up to now, oldest first. `apps`: id -> name and tags."""
        found: dict[tuple[str, datetime], Row] = {}
        for sandbox in sandboxes:
            name, tags = apps[sandbox.order.app_id]
            for hour, cost in sandbox.costs(now):
                key = (sandbox.order.app_id, hour)
                known = found.get(key) or Row(sandbox.order.app_id, name, hour, {}, tags)
                found[key] = replace(known, resources=added(iter([dict(known.resources), cost])))
        rows = [*found.values(), *self._others.get(account, ())]
        return sorted(rows, key=lambda row: (row.hour, row.object_id))


def groups(
    sandboxes: Iterator[Sandbox], names: Sequence[str], start: datetime, end: datetime, seen_until: datetime
) -> list[Group]:
    """The cost of sandboxes in `[start, end)` by the values of some tags, as far as it has been measured."""
    by_values: dict[tuple[str | None, ...], list[dict[str, Decimal]]] = {}
    for sandbox in sandboxes:
        values = tuple(sandbox.order.tags.get(name) for name in names)
        hours = [cost for hour, cost in sandbox.costs(seen_until) if start <= hour < end]
        if hours:
            by_values.setdefault(values, []).extend(hours)
    return [Group(dict(zip(names, values, strict=True)), added(iter(costs))) for values, costs in by_values.items()]
