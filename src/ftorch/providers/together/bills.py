"""The organisation's bill, line by line: months of hourly windows from `GET /v1/billing/usage`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from ftorch.core.clock import rfc3339
from ftorch.core.errors import BillNotEnabledError, RunNotFoundError
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.providers.http import Http
from ftorch.providers.together import api

_CREDIT = "CREDIT"
KeysOf = Callable[[], Mapping[str, str]]
"""Job id -> run key, asked for once there is a line to tell."""


def line_items(http: Http, window: Window, *, organisation: str, keys_of: KeysOf, now: datetime) -> Iterator[LineItem]:
    """All lines whose hour begins in the window. `now` is their as-of time: the bill has none of its own.

    Raises BillNotEnabledError where the organisation may not read its bill.
    """
    keys: Mapping[str, str] | None = None
    for hour in _hours(http, window, organisation, now):
        seen: Counter[str] = Counter()
        for line in sorted(hour.line_items, key=lambda line: line.unit_price):
            keys = keys_of() if keys is None else keys
            ref = reference(hour.start_time, line)
            seen[ref] += 1
            # Lines that differ in their price alone are told apart by their place.
            numbered = f"{ref}/{seen[ref]}" if seen[ref] > 1 else ref
            yield from _items(hour, line, numbered, _key(line, keys), now)


def _hours(http: Http, window: Window, organisation: str, now: datetime) -> Iterator[api.UsageWindow]:
    for month in _months(window.start, min(window.end, now)):
        try:
            hours = api.usage(http, month, organisation)
            yield from (hour for hour in hours if window.start <= hour.start_time < window.end)
        except RunNotFoundError as error:
            raise BillNotEnabledError(
                f"together does not let the organisation {organisation!r} read its bill",
                provider="together",
                operation="line_items",
                request_id=error.request_id,
                hint="ask Together's support to enable the billing API for it; until then the price that Together "
                "keeps with each job is all there is",
            ) from error


def _months(start: datetime, end: datetime) -> Iterator[str]:
    """The calendar months from one moment to another, in UTC."""
    month = start.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < end:
        yield f"{month:%Y-%m}"
        month = (month + timedelta(days=32)).replace(day=1)


def _items(hour: api.UsageWindow, line: api.Usage, ref: str, key: str | None, now: datetime) -> Iterator[LineItem]:
    """The line; where a credit of Together's has covered it, that credit beside it."""
    period = Window(hour.start_time, hour.end_time)

    def item(ref: str, kind: EntryKind, sign: int, words: str) -> LineItem:
        return LineItem(
            source=SpendSource.BILLING_API,
            source_ref=ref,
            kind=kind,
            amount=Money(line.cost * sign),
            quantity=line.quantity * sign,
            unit="unit",
            unit_price=line.unit_price,
            period=period,
            as_of=now,
            description=f"{words}{line.product_name}",
            run_key=key,
        )

    # What costs less than nothing and is no credit is money that came back for a line of an earlier day.
    yield item(ref, EntryKind.BILLED if line.cost >= 0 else EntryKind.ADJUSTED, 1, "")
    if line.applied_credit is not None and line.applied_credit.type.upper() == _CREDIT:
        yield item(f"{ref}/credit", EntryKind.CREDIT, -1, "credit for ")


def reference(start: datetime, line: api.Usage) -> str:
    """The line by what stays the same when its amount is corrected: Together gives lines no ids."""
    credit = line.applied_credit.type if line.applied_credit else None
    named = [line.product_name, sorted(line.pricing_dimensions.items()), sorted(line.attributes.items()), credit]
    return f"{rfc3339(start)}/{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]}"


def _key(line: api.Usage, keys: Mapping[str, str]) -> str | None:
    """The run that the line names by the id of its job. A line that names none is never guessed at."""
    return next((keys[value] for value in line.attributes.values() if value in keys), None)
