"""RPCs of money: statistics by tag, rates, the bill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message
from modal_proto import api_pb2

from ftorch.emulators.modal.bill import groups
from ftorch.emulators.modal.prices import RATES
from ftorch.emulators.modal.service import Service
from ftorch.emulators.modal.wire import Call, Rpc, moment_of, single, timestamp
from ftorch.emulators.server import RefusedError


def _stats(call: Call, request: Any) -> Message:
    service = call.service
    _check_plan(service)
    service.look()
    start = moment_of(request.since)
    end = moment_of(request.until) if request.HasField("until") else service.clock.now() + timedelta(hours=1)
    if any(moment.minute or moment.second for moment in (start, *([end] if request.HasField("until") else []))):
        raise RefusedError(422, "invalid", "the range must lie on hour boundaries")
    chosen = (
        one
        for one in service.of_account(call.account)
        if one.order.app_id == request.app_id and dict(request.tags).items() <= one.order.tags.items()
    )
    seen_until = service.clock.now() - timedelta(seconds=service.stats_lag_s)
    found = groups(chosen, list(request.group_by_tags), start, end, seen_until)
    return api_pb2.SandboxGetTimeRangeStatsResponse(
        groups=[
            api_pb2.SandboxStatsGroup(
                tags={name: _tag_value(value) for name, value in group.tags.items()},
                cost_str=str(sum(group.resources.values(), Decimal(0))),
                cost_by_resource_str={name: str(usd) for name, usd in group.resources.items()},
            )
            for group in found
        ]
    )


def _rates(call: Call, _request: Any) -> Message:
    _check_plan(call.service)
    lines = "\n".join(f"{name}: ${usd}" for name, usd in RATES.items())
    return api_pb2.WorkspaceBillingRatesResponse(rates=RATES, formatted=lines)


def _report(call: Call, request: Any) -> Iterator[Message]:
    """Whole intervals in `[start, end)`; a day's row is the sum of its hours."""
    _check_plan(call.service)
    if request.resolution not in ("h", "d"):
        raise RefusedError(422, "invalid", f"no resolution {request.resolution!r}")
    step = timedelta(hours=1) if request.resolution == "h" else timedelta(days=1)
    start, end = _floor(moment_of(request.start_timestamp), step), moment_of(request.end_timestamp)
    merged: dict[tuple[str, datetime], Any] = {}
    for row in call.service.rows(call.account):
        interval = _floor(row.hour, step)
        if not start <= interval or interval + step > end:
            continue
        item = merged.setdefault(
            (row.object_id, interval),
            api_pb2.WorkspaceBillingReportItem(
                object_id=row.object_id,
                description=row.description,
                environment_name="main",
                interval=timestamp(interval),
                tags=row.tags if request.tag_names else {},
            ),
        )
        item.cost = str(Decimal(item.cost or "0") + row.usd)
        for name, usd in row.resources.items():
            item.cost_by_resource[name] = str(Decimal(item.cost_by_resource.get(name, "0")) + usd)
    yield from merged.values()


def _check_plan(service: Service) -> None:
    if not service.has_billing:
        raise RefusedError(403, "plan", "billing reports are part of the Team and Enterprise plans")


def _tag_value(value: str | None) -> Any:
    kind = api_pb2.SandboxStatsGroup.TagValue
    return kind() if value is None else kind(value=value)


def _floor(moment: datetime, step: timedelta) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour.replace(hour=0) if step > timedelta(hours=1) else hour


ROUTES: Mapping[str, Rpc] = {
    "SandboxGetTimeRangeStats": single(_stats),
    "WorkspaceBillingRates": single(_rates),
    "WorkspaceBillingReport": _report,
}
