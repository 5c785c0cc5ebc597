"""The rows of the database as values. Text, integers and decimals only: the layers above give them their meaning."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Protocol, TypeVar

from ftorch.core.clock import from_micros, to_micros


class _Row(Protocol):
    def __init__(self, **values: Any) -> None: ...


R = TypeVar("R", bound=_Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One manifest submitted. The plan's text is read apart (`plan_text`): lists do not need it.

    `granted` counts the runs that a person allowed by asking for a retry, whatever the manifest's own limit.
    `hold_micro` is reserved from the submit until the first run holds for itself. `estimate_micro` is what was told at
    the submit, by `estimate_source`: estimate, or quote once the provider has named its own price.
    """

    id: str
    name: str
    plan_hash: str
    manifest_path: str
    dataset: str
    base_model: str
    method: str
    provider: str
    state: str
    reason: str | None = None
    detail: str = ""
    desired: str
    limit_micro: int | None
    hold_micro: int = 0
    estimate_micro: int | None = None
    estimate_source: str | None = None
    labels: str
    host: str
    staged: str | None = None
    adapter: str | None = None
    failures: int = 0
    granted: int = 0
    created_at: datetime
    ended_at: datetime | None = None
    next_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One training execution of a job. `sent_at` is the intent; the run may exist at the provider from then on.

    `agreed_rate` is the placement's, `rate` what was read back, `accrual_micro` what the provider says that it costs so
    far or will have cost. `bad_fetches` counts adapters that arrived damaged, `failures` whatever failed in a row.
    `bounded_by` names what set `max_duration_s`,
    `stop_reason` why the engine stopped a run that was wanted, `absent_at` the first walk that did not see it any more.
    `sent_reading` is what a clock that nobody sets showed at the intent.
    """

    key: str
    job_id: str
    number: int
    purpose: str
    provider: str
    account: str
    placement: str
    rate: Decimal | None
    agreed_rate: Decimal | None = None
    max_duration_s: int | None
    bounded_by: str | None = None
    resume_from: str | None
    hold_micro: int
    accrual_micro: int | None = None
    remote_id: str | None = None
    place: str | None = None
    state: str | None = None
    provider_status: str = ""
    detail: str = ""
    retry_event: str | None = None
    exit_code: int | None = None
    trained_tokens: int | None = None
    progress: str | None = None
    failures: int = 0
    bad_fetches: int = 0
    created_at: datetime
    sends: int = 0
    sent_at: datetime | None = None
    send_before: datetime | None = None
    sent_reading: str | None = None
    started_at: datetime | None = None
    observed_at: datetime | None = None
    billable_from: datetime | None = None
    billable_to: datetime | None = None
    cancel_requested_at: datetime | None = None
    stop_reason: str | None = None
    absent_at: datetime | None = None
    ended_at: datetime | None = None
    fetched_at: datetime | None = None
    released_at: datetime | None = None
    charged_at: datetime | None = None
    settled_at: datetime | None = None
    next_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Something that happened to a job, in the order in which it was committed."""

    seq: int
    job_id: str
    run_key: str | None
    at: datetime
    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One entry of the ledger. `id` is 0 until the database has given one.

    `place` says where a line of a bill went: run, assigned, outside or unexplained; our own charges are a run's.
    `counted_at` decides in which month the entry counts: when its period begins, or later where that month was closed;
    then `corrects` names the month. `labels` are those that a person gave to a line without a job. `list_micro` is
    the amount at the unit price, before discounts. `scope` is what it is the price of: `run` or `platform_fee`.
    """

    id: int = 0
    provider: str
    account: str
    source: str
    source_ref: str
    revision: int
    run_key: str | None
    job_id: str | None
    kind: str
    amount_micro: int
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    description: str
    period_start: datetime
    period_end: datetime
    as_of: datetime
    recorded_at: datetime
    place: str = "run"
    list_micro: int = 0
    counted_at: datetime
    corrects: str | None = None
    labels: str | None = None
    scope: str = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """How far the bill of an account has been read. Usage until `data_through` does not change by itself any more."""

    provider: str
    account: str
    source: str
    data_through: datetime
    pulled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRow:
    """A person's word about a line of a bill, or, with the source `run`, about a run whose bill differs."""

    id: int = 0
    provider: str
    account: str
    source: str
    source_ref: str
    place: str
    job_id: str | None
    labels: str | None
    note: str
    host: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRow:
    """A file of a bill that was imported."""

    sha256: str
    provider: str
    account: str
    name: str
    lines: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRow:
    """A month that is frozen. `findings` are what was missing when it was closed by force, as JSON."""

    month: str
    ends_at: datetime
    closed_at: datetime
    note: str | None
    findings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One look at a job's adapter on held-out rows. `verdict` is the gate's, None where no gate was asked."""

    id: str
    job_id: str
    dataset: str
    verdict: str | None
    report: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateRow:
    """What was estimated for a job at its submit, before anything was learned. None: nobody could tell.

    `growing` is the part that grows with the tokens: without boot and without a minimum.
    """

    job_id: str
    provider: str
    amount_micro: int | None
    growing_micro: int | None
    seconds: int | None
    growing_seconds: int | None
    basis: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """An estimate beside what came of it. No table of its own."""

    job_id: str
    provider: str
    base_model: str
    growing_micro: int | None
    growing_seconds: int | None
    actual_micro: int | None
    """None: nobody has named a price yet."""
    billable_from: datetime | None
    billable_to: datetime | None


_REPEATED = frozenset(
    {
        *("provider", "account", "purpose", "state", "desired", "method", "base_model", "host", "placement"),
        *("provider_status", "dataset", "labels", "kind", "plan_hash", "manifest_path", "staged", "id", "job_id"),
    }
)
"""Ten thousand rows say `running` and name one provider: one string for all of them. A run names its job's own id."""


@cache
def columns(row_type: Any) -> tuple[str, ...]:
    """The column names of a row type, in the order of its fields."""
    return tuple(f.name for f in fields(row_type))


@cache
def _converters(row_type: Any) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """How each column becomes its field; None: as it is."""
    return tuple((f.name, _converter(f.name, str(f.type))) for f in fields(row_type))


def _converter(name: str, words: str) -> Callable[[Any], Any] | None:
    if "datetime" in words:
        return _moment
    if "Decimal" in words:
        return _decimal
    return sys.intern if name in _REPEATED and "str" in words else None


# What a walk writes has one moment and one price for thousands of runs: kept once, and made once.
_moment = lru_cache(maxsize=4096)(from_micros)
_decimal: Callable[[Any], Decimal] = lru_cache(maxsize=256)(Decimal)


def to_row(row_type: type[R], values: Iterable[Any]) -> R:
    """A database row, its columns in the order of the fields, as a value.

    Integers become moments and text becomes decimals where the field says so. By position: sqlite3 looks a name up by
    comparing it with one column after the other, which is most of the time for rows of forty.
    """
    pairs = zip(_converters(row_type), values, strict=True)
    return row_type(**{name: value if value is None or by is None else by(value) for (name, by), value in pairs})


def to_db(value: object) -> object:
    """A field as the database keeps it."""
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, datetime):
        return to_micros(value)
    return f"{value:f}" if isinstance(value, Decimal) else value
