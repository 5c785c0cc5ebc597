"""The service's own bill, made from what it knows of its jobs and its clock, never from what clients asked.

Usage is gathered in hours. A line is on the bill once its hour is over and the lag has passed; days are made of hours.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from ftorch.core.clock import parse_rfc3339, rfc3339
from ftorch.emulators.server import RefusedError
from ftorch.emulators.together.answers import AppliedCredit, LineItem, UsageReport, UsageWindow
from ftorch.emulators.together.jobs import Job
from ftorch.emulators.together.models import Tariff, price
from ftorch.emulators.together.schemas import UsageQuery

Credit = Literal["PREPAID", "POSTPAID", "CREDIT"]
JOB_ATTRIBUTE = "fine_tune_job_id"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MILLION = Decimal(1_000_000)
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Line:
    """What one thing cost in one window."""

    start: datetime
    end: datetime
    product_name: str
    quantity: Decimal
    unit_price: Decimal
    cost: Decimal
    pricing_dimensions: Mapping[str, str]
    attributes: Mapping[str, str]
    applied_credit: Credit | None = None
    used_at: datetime | None = None
    """When the usage in it ended: the lag counts from here. Not shown."""

    @property
    def key(self) -> str:
        """What tells a line from all others."""
        words = (rfc3339(self.start), rfc3339(self.end), self.product_name, str(self.unit_price), self.applied_credit)
        return repr((*words, sorted(self.pricing_dimensions.items()), sorted(self.attributes.items())))

    def is_on_the_bill(self, now: datetime, lag_s: float) -> bool:
        return now >= max(self.end, (self.used_at or self.start) + timedelta(seconds=lag_s))


def hour_line(at: datetime, product: str, quantity: Decimal, unit_price: Decimal, cost: Decimal) -> Line:
    """A line of the hour that holds `at`, which nobody is named in yet."""
    start = at.replace(minute=0, second=0, microsecond=0)
    return Line(start, start + _HOUR, product, quantity, unit_price, cost, {}, {}, used_at=at)


def job_lines(job: Job, now: datetime, tariff: Tariff) -> Iterator[Line]:
    """What a job has cost until now, by the hour; its lines add up to the price of the whole."""
    named = {"api_key_id": job.account.key_id, "project_id": job.account.project, JOB_ATTRIBUTE: job.id}
    kind = "lora" if job.lora else "full"
    dimensions = {"model": job.model.id, "training_method": job.method, "training_type": kind}
    for line in (*_token_lines(job, now, tariff), *_minimum_line(job, now, tariff), *_refund_lines(job, now)):
        yield replace(line, attributes=named, pricing_dimensions=dimensions)


def _token_lines(job: Job, now: datetime, tariff: Tariff) -> Iterator[Line]:
    rate, product = job.rate(tariff), f"Fine-Tuning {job.method.upper()} (Per 1M Tokens)"
    start, stop = job.tokenised_at, min(now, job.stops_at)
    while start < stop:
        end = min(start.replace(minute=0, second=0, microsecond=0) + _HOUR, stop)
        before, after = (job.tokens_until(job.step(moment)) for moment in (start, end))
        if after > before:
            # Differences of totals: rounded one by one, the hours would not add up.
            cost = price(after, rate) - price(before, rate)
            line = hour_line(start, product, (after - before) / _MILLION, rate, cost)
            yield replace(line, used_at=end)
        start = end


def _minimum_line(job: Job, now: datetime, tariff: Tariff) -> Iterator[Line]:
    missing = job.full_cost(tariff) - price(job.size.tokens, job.rate(tariff))
    if missing and job.has_trained_to_its_end(now):
        yield hour_line(job.trained_at, "Fine-Tuning Minimum Charge", _ONE, missing, missing)


def _refund_lines(job: Job, now: datetime) -> Iterator[Line]:
    for refund in job.refunds:
        if refund.at <= now:
            yield hour_line(refund.at, "Fine-Tuning Refund", _ONE, -refund.usd, -refund.usd)


class Corrections:
    """Lines that the service changed afterwards."""

    def __init__(self) -> None:
        self._costs: dict[str, Decimal] = {}

    def add(self, line: Line, usd: Decimal) -> None:
        self._costs[line.key] = usd

    def applied(self, line: Line) -> Line:
        return replace(line, cost=self._costs.get(line.key, line.cost))


def gathered(lines: Iterable[Line]) -> list[Line]:
    """Lines of the same thing in the same window as one, by time."""
    same: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        same[line.key].append(line)
    return sorted((_sum(group) for group in same.values()), key=lambda line: (line.start, line.key))


def by_day(lines: Iterable[Line]) -> list[Line]:
    return gathered(_in_its_day(line) for line in lines)


def _in_its_day(line: Line) -> Line:
    day = line.start.replace(hour=0)
    return replace(line, start=day, end=day + _DAY)


def _sum(lines: Sequence[Line]) -> Line:
    quantity = sum((line.quantity for line in lines), Decimal(0))
    return replace(lines[0], quantity=quantity, cost=sum((line.cost for line in lines), Decimal(0)))


def report(lines: Sequence[Line], asked: UsageQuery, *, organisation: str, month: str, page: int) -> UsageReport:
    """One page of a month: at most `page` windows, or as many as were asked for where that is less."""
    inside = [line for line in lines if f"{line.start:%Y-%m}" == month]
    starts = sorted({line.start for line in inside})
    after = _after(asked, month)
    waiting = [start for start in starts if after is None or start > after]
    shown = waiting[: min(page, asked.limit)]
    return UsageReport(
        organization_id=organisation,
        billing_period=month,
        earliest_window_start=rfc3339(starts[0]) if starts else None,
        latest_window_end=rfc3339(max(line.end for line in inside)) if starts else None,
        data=[_window([line for line in inside if line.start == start]) for start in shown],
        next_cursor=_cursor(month, asked.granularity, shown[-1]) if len(waiting) > len(shown) else None,
    )


def _window(lines: Sequence[Line]) -> UsageWindow:
    first = lines[0]
    return UsageWindow(
        date=f"{first.start:%Y-%m-%d}",
        start_time=rfc3339(first.start),
        end_time=rfc3339(first.end),
        line_items=[_item(line) for line in lines],
    )


def _item(line: Line) -> LineItem:
    return LineItem(
        product_name=line.product_name,
        quantity=f"{line.quantity:f}",
        unit_price=f"{line.unit_price:f}",
        cost=f"{line.cost:f}",
        pricing_dimensions=dict(line.pricing_dimensions),
        attributes=dict(line.attributes),
        applied_credit=AppliedCredit(type=line.applied_credit) if line.applied_credit else None,
    )


def _cursor(month: str, granularity: str, start: datetime) -> str:
    return base64.urlsafe_b64encode(f"{month} {granularity} {rfc3339(start)}".encode()).decode()


def _after(asked: UsageQuery, month: str) -> datetime | None:
    """The window that a cursor goes on after. It is good only for the month and granularity that it was given for."""
    if asked.after is None:
        return None
    try:
        of_month, granularity, start = base64.urlsafe_b64decode(asked.after).decode().split()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise RefusedError(400, "invalid_request", "Invalid cursor") from error
    if (of_month, granularity) != (month, asked.granularity):
        raise RefusedError(400, "invalid_request", "The cursor was issued for another month or granularity")
    return parse_rfc3339(start)
