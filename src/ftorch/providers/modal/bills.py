"""The workspace's bill by the hour. Modal bills Apps, so an App's hour is divided among its runs by Modal's statistics.

Each row of the report is one item under a reference of its own; what its runs have used of it are items beside it, and
the row keeps the rest. So the sum is the bill's, whatever the statistics say, and late ones only move it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import modal
from modal.types import BillingReportItem

from ftorch.core.errors import BillNotEnabledError
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.providers.modal.sdk import NotAllowedError, Sdk

_HOUR = timedelta(hours=1)
_REPORT_S = 120.0
_OURS = "ftorch-"

Shares = Callable[[str, datetime], Mapping[str, Decimal]]
"""App id and hour -> what its runs have cost in that hour, by their keys."""


def line_items(sdk: Sdk, window: Window, shares: Shares, now: datetime) -> Iterator[LineItem]:
    """All rows whose hour begins in the window. Raises BillNotEnabledError where the plan has no report."""
    for row in sorted(_rows(sdk, window), key=lambda row: (row.interval_start, row.object_id, row.environment_name)):
        hour = row.interval_start.replace(tzinfo=UTC) if row.interval_start.tzinfo is None else row.interval_start
        if window.start <= hour < window.end:
            yield from _items(row, hour, shares, now)


def reference(object_id: str, hour: datetime) -> str:
    """A row by what stays the same when its amount is corrected."""
    return f"{object_id}/{hour:%Y%m%dT%H}"


def divided(cost: Decimal, used: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """What each run has of a row: its own statistics, cut where together they are more than the row."""
    ours = {key: usd for key, usd in used.items() if installation_of(key) and usd > 0}
    total = sum(ours.values(), Decimal(0))
    if total <= cost:
        return ours
    return {key: usd * cost / total for key, usd in ours.items()} if cost > 0 else {}


def _rows(sdk: Sdk, window: Window) -> Sequence[BillingReportItem]:
    start = window.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    # An hour that the window cuts is asked for whole: the report leaves partial ones out.
    end = window.end.astimezone(UTC) + _HOUR - timedelta(microseconds=1)
    end = end.replace(minute=0, second=0, microsecond=0)
    if start >= end:
        return ()

    async def call(client: modal.Client) -> list[BillingReportItem]:
        billing = modal.Workspace.from_context(client=client).billing
        return await billing.report.aio(start=start, end=end, resolution="h", tag_names=["*"])

    try:
        return sdk.run("line_items", call, deadline_s=_REPORT_S)
    except NotAllowedError as error:
        raise BillNotEnabledError(
            f"modal does not let this workspace read its bill: {error.message}",
            provider="modal",
            operation="line_items",
            hint="billing reports are part of Modal's Team and Enterprise plans; until then the statistics of the runs "
            "are all there is",
        ) from error


def _items(row: BillingReportItem, hour: datetime, shares: Shares, now: datetime) -> Iterator[LineItem]:
    used = shares(row.object_id, hour) if row.description.startswith(_OURS) else {}
    divisions = divided(row.cost, used)
    ref, period = reference(row.object_id, hour), Window(hour, hour + _HOUR)

    def item(ref: str, usd: Decimal, words: str, key: str | None = None) -> LineItem:
        return LineItem(
            source=SpendSource.BILLING_API,
            source_ref=ref,
            kind=EntryKind.BILLED if usd >= 0 else EntryKind.CREDIT,
            amount=Money(usd),
            quantity=Decimal(1),
            unit="hour",
            unit_price=usd,
            period=period,
            as_of=now,
            description=words,
            run_key=key,
        )

    for key, usd in divisions.items():
        yield item(f"{ref}/{key}", usd, f"{row.description}: run {key}", key)
    rest = row.cost - sum(divisions.values(), Decimal(0))
    yield item(ref, rest, f"{row.description}: what no run has used" if divisions else row.description)
