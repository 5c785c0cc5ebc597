"""The organisation's bill: a row for each cluster and UTC day. A row names its job, whose name is our key.

Where the machines stand in a cloud of the user's own, the row is Anyscale's fee alone; the line says so, and leaves
what was charged for the machines as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import structlog

from ftorch.core.errors import BillNotEnabledError, CredentialsError
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Scope, SpendSource, Window
from ftorch.providers.anyscale import api
from ftorch.providers.anyscale.answers import Usage
from ftorch.providers.anyscale.money import FEE_ALONE
from ftorch.providers.http import Http

_DAY = timedelta(days=1)
IsHosted = Callable[[Usage], bool]
"""Of a row of a run: its machines are on this bill too."""

log = structlog.get_logger()


def line_items(http: Http, window: Window, is_hosted: IsHosted, now: datetime) -> Iterator[LineItem]:
    """All rows whose day begins in the window. `now` is their as-of time: the bill has none of its own.

    Raises BillNotEnabledError where the token may not read the bill.
    """
    end = min(window.end, now)
    if window.start >= end:
        return
    for row in sorted(rows(http, window.start, end), key=lambda row: (row.day, row.cluster_id)):
        start = datetime.combine(row.day, time(), UTC)
        if not window.start <= start < window.end:
            continue
        if row.dollar_value is None:
            # Credits have no known price, and an unknown amount is not 0: the run keeps what was charged for it.
            log.warning("a row of the bill names credits and no dollars", provider="anyscale", cluster=row.cluster_id)
            continue
        yield _item(row, Window(start, start + _DAY), is_hosted, now)


def rows(http: Http, start: datetime, end: datetime) -> Iterator[Usage]:
    """The rows of all days that the span touches. Raises BillNotEnabledError."""
    first, last = (moment.astimezone(UTC).date() for moment in (start, end))
    try:
        yield from api.usage(http, first, last, operation="line_items")
    except CredentialsError as error:
        raise BillNotEnabledError(
            f"anyscale does not let this token read the organisation's usage: {error.message}",
            provider="anyscale",
            operation="line_items",
            hint="ask an owner of the organisation; until then measured time at the listed price is all there is",
        ) from error


def reference(day: str, cluster_id: str) -> str:
    """A row by what stays the same when its amount is corrected."""
    return f"{cluster_id}/{day}"


def _item(row: Usage, period: Window, is_hosted: IsHosted, now: datetime) -> LineItem:
    usd = row.dollar_value or Decimal(0)
    key = row.job_name if row.job_name and installation_of(row.job_name) else None
    # What others use has no charge of ours beside it: whose machines those were makes no difference.
    is_fee = key is not None and not is_hosted(row)
    return LineItem(
        source=SpendSource.BILLING_API,
        source_ref=reference(row.day.isoformat(), row.cluster_id),
        kind=EntryKind.BILLED if usd >= 0 else EntryKind.ADJUSTED,
        amount=Money(usd),
        quantity=row.anyscale_credits,
        unit="credit",
        unit_price=None,
        period=period,
        as_of=now,
        description=f"{_what(row)} on cluster {row.cluster_id}{FEE_ALONE if is_fee else ''}",
        run_key=key,
        remote_id=row.job_id,
        scope=Scope.PLATFORM_FEE if is_fee else Scope.RUN,
    )


def _what(row: Usage) -> str:
    """What the cluster was for, in the row's own words."""
    named = {
        "job": row.job_name or row.job_id,
        "job queue": row.job_queue_name,
        "service": row.service_name,
        "workspace": row.workspace_name,
    }
    return next((f"{kind} {name}" for kind, name in named.items() if name), "something without a name")
