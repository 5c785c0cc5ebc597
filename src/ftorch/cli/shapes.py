"""The JSON shapes of answers that are not views already, and the schema of each (`ftorch schema output NAME`)."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ftorch.core.errors import UsageError
from ftorch.core.money import Money
from ftorch.core.suggest import did_you_mean
from ftorch.costs.report import SpendReport, SpendRow
from ftorch.jobs.views import Spend
from ftorch.store import LedgerRow


@dataclass(frozen=True, slots=True)
class SpendGroup:
    """One group of `ftorch spend --json`."""

    key: str
    jobs: int
    entries: int
    spend: Spend
    list: Money
    """At unit prices, before discounts."""
    provisional: Money
    billed: Money
    credits: Money
    tax: Money
    waste: Money
    """The part of spend that went into runs that failed, were cancelled or killed."""
    estimate: Money | None
    """What was told at the submits of those jobs that are in no other group."""
    error: Decimal | None
    """By how much they cost more than that, as a part of it."""


@dataclass(frozen=True, slots=True)
class SpendAnswer:
    """`ftorch spend --json`. `spend --as-of` with its `as_of` repeats it to the byte."""

    by: str
    start: datetime | None
    end: datetime | None
    as_of: datetime
    timezone: str
    total: Spend
    in_all: SpendGroup
    rows: Sequence[SpendGroup]
    unpriced_runs: int


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """One entry of `ftorch ledger --json`."""

    id: int
    recorded_at: datetime
    provider: str
    account: str
    job: str | None
    run: str | None
    amount: Spend
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    source_ref: str
    revision: int
    period_start: datetime
    period_end: datetime
    as_of: datetime
    description: str
    place: str
    """run, assigned, outside or unexplained: where a line of a bill went."""
    list: Money
    counted_at: datetime
    """Decides the month in which it counts."""
    corrects: str | None
    """The month that it corrects, where that was closed when it came."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """One provider of `ftorch providers --json`."""

    name: str
    state: str
    """`ready`, `not configured`, `missing extra`, `not in this version`, or what its check answered."""
    variables: Mapping[str, str | None]
    """Variable -> where it is set (environment, .env, login file), or null."""
    install: str | None
    spend_source: str | None
    live_check: str | None


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What a command prints under `error` when it fails with `--json`."""

    code: str
    message: str
    hint: str | None
    file: str | None
    line: int | None
    key: str | None


_SHAPES: Mapping[str, tuple[str, bool]] = {
    "jobs": ("ftorch.jobs.views:JobView", True),
    "job": ("ftorch.jobs.views:JobView", False),
    "history": ("ftorch.jobs.history:JobHistory", False),
    "adapters": ("ftorch.jobs.adapter_views:AdapterView", True),
    "promotions": ("ftorch.jobs.adapter_views:PromotionView", True),
    "notices": ("ftorch.notify.views:NoticeView", True),
    "adopt": ("ftorch.jobs.adopt:Adoptable", True),
    "schedules": ("ftorch.schedule.verbs:ScheduleView", True),
    "schedule": ("ftorch.schedule.verbs:ScheduleView", False),
    "reap": ("ftorch.jobs.reap:ReapReport", False),
    "eval": ("ftorch.jobs.evaluate:EvaluationReport", False),
    "compare": ("ftorch.jobs.compare:Comparison", False),
    "prices": ("ftorch.costs.book.listed:ListedPrice", True),
    "decide": ("ftorch.jobs.advice.decision:Decision", False),
    "lifetime": ("ftorch.costs.lifetime:LifetimeReport", False),
    "spend": ("ftorch.cli.shapes:SpendAnswer", False),
    "spend-compare": ("ftorch.costs.compare:Comparison", False),
    "ledger": ("ftorch.cli.shapes:LedgerAnswer", True),
    "bill": ("ftorch.jobs.billing.status:BillStatus", False),
    "bill-pull": ("ftorch.jobs.billing.pull:Pulled", True),
    "bill-import": ("ftorch.jobs.billing.invoice:Imported", False),
    "bill-explain": ("ftorch.jobs.billing.explain:LineView", False),
    "bill-close": ("ftorch.jobs.billing.close:Closed", False),
    "db-check": ("ftorch.store.check:DatabaseReport", False),
    "db-move": ("ftorch.store.move:Moved", False),
    "providers": ("ftorch.cli.shapes:ProviderAnswer", True),
    "error": ("ftorch.cli.shapes:ErrorAnswer", False),
}
"""Name -> (shape of one thing, whether the answer is a list of them). By name: reading jobs must not load the rest."""


def spend_answer(report: SpendReport) -> SpendAnswer:
    whole = spend_group(report.in_all)
    by = report.by.removeprefix("label:")
    rows = [spend_group(row) for row in report.rows]
    return SpendAnswer(
        by, report.start, report.end, report.as_of, report.timezone, whole.spend, whole, rows, report.unpriced_runs
    )


def spend_group(row: SpendRow) -> SpendGroup:
    return SpendGroup(
        key=row.key,
        jobs=row.jobs,
        entries=row.entries,
        spend=Spend(row.amount, row.currency, row.source or None, row.status),
        list=Money(row.list_price),
        provisional=Money(row.provisional),
        billed=Money(row.billed),
        credits=Money(row.credits),
        tax=Money(row.tax),
        waste=Money(row.waste),
        estimate=None if row.estimate is None else Money(row.estimate),
        error=row.error,
    )


def ledger_answer(entry: LedgerRow) -> LedgerAnswer:
    amount = Money.from_micro(entry.amount_micro)
    return LedgerAnswer(
        id=entry.id,
        recorded_at=entry.recorded_at,
        provider=entry.provider,
        account=entry.account,
        job=entry.job_id,
        run=entry.run_key,
        amount=Spend(amount.amount, amount.currency, entry.source, entry.kind),
        quantity=entry.quantity,
        unit=entry.unit,
        unit_price=entry.unit_price,
        source_ref=entry.source_ref,
        revision=entry.revision,
        period_start=entry.period_start,
        period_end=entry.period_end,
        as_of=entry.as_of,
        description=entry.description,
        place=entry.place,
        list=Money.from_micro(entry.list_micro),
        counted_at=entry.counted_at,
        corrects=entry.corrects,
    )


def output_schema(name: str | None) -> dict[str, Any]:
    """The JSON schema of an output. Raises UsageError for a name that there is none of."""
    if name is None or name not in _SHAPES:
        words = f"no output is called {name!r}{did_you_mean(name, _SHAPES)}" if name else "which output?"
        raise UsageError(words, hint=f"one of: {', '.join(_SHAPES)}")
    place, is_list = _SHAPES[name]
    module, _, attribute = place.partition(":")
    body = _of_dataclass(getattr(import_module(module), attribute))
    answer = {"type": "array", "items": body} if is_list else body
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ftorch {name} --json", **answer}


def _of_dataclass(shape: type) -> dict[str, Any]:
    hints = get_type_hints(shape)
    properties = {field.name: _of_type(hints[field.name]) for field in dataclasses.fields(shape)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_SIMPLE: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]+$"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    type(None): {"type": "null"},
    Any: {},
}


def _of_type(hint: Any) -> dict[str, Any]:
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin in (types.UnionType, Union):
            return {"anyOf": [_of_type(argument) for argument in arguments]}
        case origin if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": _of_type(arguments[1])}
        case origin if origin is not None and issubclass(origin, Sequence):
            return {"type": "array", "items": _of_type(arguments[0])}
        case _:
            return _of_dataclass(hint)
