"""The lifetime of one job or manifest: its real spend, its quality on held-out rows, its prices.

Everything is read when it is asked for: as bills arrive, the train cost and the crossover move with them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ftorch.core import cron
from ftorch.core.errors import Fault, ManifestError, UsageError
from ftorch.core.money import Money
from ftorch.core.quality import NOT_MEASURED, Quality, QualityState
from ftorch.costs.book.listed import STALE_AFTER_DAYS, is_stale
from ftorch.costs.hosted import ModelPrice, model_price
from ftorch.costs.lifetime import LifetimeReport, TrainCost, lifetime
from ftorch.costs.logs.call import Call
from ftorch.costs.logs.read import read_calls
from ftorch.costs.logs.summary import summarise
from ftorch.costs.sides import HOURS
from ftorch.jobs.subject import named_manifest, newest_job, subject
from ftorch.jobs.views import spend_of
from ftorch.manifest.lifetime import Assumed, Lifetime, OfLogs, OfModel, PerCall, PerToken, Retrain
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schedule import DATASET_CHANGED, Schedule
from ftorch.store import JobRow, LedgerRow, Store, sql

_HINT = "add lifetime: {calls_per_period: ..., periods: ..., hosted: {...}, serving: {...}} to the manifest"
_YEAR = timedelta(days=365)

OwnPrices = Mapping[str, Mapping[str, OwnPrice]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the block, the job that was paid for, and where the block's files lie."""

    block: Lifetime
    schedule: Schedule | None
    job: JobRow | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Readied:
    """A block whose hosted price and volume are figures, with what must be said about them."""

    block: Lifetime
    warnings: tuple[str, ...]


def lifetime_of(
    store: Store | None, reference: str, cwd: Path, *, start: date, own_prices: OwnPrices | None = None
) -> LifetimeReport:
    """The answer for a manifest, or for the job that the reference names.

    Raises ManifestError where the manifest has no `lifetime`, UsageError for a job that does not exist or has none, or
    a hosted model without a price, DataError for logs that cannot be read.
    """
    asked = question(store, reference, cwd)
    readied = ready(asked, own_prices or {}, start)
    train = train_cost(asked.block, store, asked.job)
    return lifetime(readied.block, train, quality_of(store, asked.job), start=start, warnings=readied.warnings)


def question(store: Store | None, reference: str, cwd: Path) -> Question:
    """What the reference means. Raises as `lifetime_of` does."""
    if manifest := named_manifest(reference, cwd):
        if manifest.lifetime is None:
            raise ManifestError([Fault("is missing", file=reference, key="lifetime", hint=_HINT)])
        job = newest_job(store, manifest.name) if store else None
        return Question(manifest.lifetime, manifest.schedule, job, (cwd / reference).parent)
    if store is None:
        raise UsageError(f"no job is called {reference!r}", hint="give a manifest, or run `ftorch jobs`")
    found = subject(store, reference, cwd)
    if found.plan.lifetime is None:
        raise UsageError(
            f"job {found.job.id} was submitted without lifetime", hint=f"{_HINT}, then run `ftorch lifetime MANIFEST`"
        )
    folder = (cwd / found.job.manifest_path).parent
    return Question(found.plan.lifetime, found.plan.schedule, found.job, folder)


def ready(asked: Question, own: OwnPrices, today: date) -> Readied:
    """Look up what is not a figure yet: the hosted model's price, its logs, the retrains of the schedule."""
    block, warnings = _with_hosted(asked, own, today)
    if block.retrain is None and asked.schedule is not None:
        every = _periods_between(asked.schedule, block, today)
        block = block.model_copy(update={"retrain": Retrain(every=every)})
        when = " at most: only where the dataset has changed" if asked.schedule.when == (DATASET_CHANGED,) else ""
        warnings.append(f"retrains are counted by the schedule, one every {every:.3g} {block.period}s{when}")
    return Readied(block, tuple(warnings))


def _with_hosted(asked: Question, own: OwnPrices, today: date) -> tuple[Lifetime, list[str]]:
    block = asked.block
    match block.hosted:
        case OfModel() as named:
            price = model_price(named.model, own, today)
            hosted = PerToken(
                per_million_input=price.input,
                per_million_output=price.output,
                per_million_cached_input=price.cached_input,
                input_tokens=named.input_tokens,
                cached_tokens=named.cached_tokens,
                output_tokens=named.output_tokens,
                source=f"{named.model}: {price.source}",
            )
            return block.model_copy(update={"hosted": hosted}), _stale(named.model, price.read, today)
        case OfLogs() as logs:
            return _with_logs(block, logs, asked.folder, own, today)
        case _:
            return block, []


def _with_logs(block: Lifetime, logs: OfLogs, folder: Path, own: OwnPrices, today: date) -> tuple[Lifetime, list[str]]:
    path = folder / logs.logs
    warnings: list[str] = []
    prices: dict[str, ModelPrice] = {}

    def cost_of(call: Call) -> Decimal:
        if call.model not in prices:
            prices[call.model] = model_price(call.model, own, today)
            warnings.extend(_stale(call.model, prices[call.model].read, today))
        return prices[call.model].cost(call.input_tokens, call.cached_tokens, call.output_tokens)

    calls = read_calls(path, logs.format)
    found = summarise(calls, path, period=block.period, cost_of=cost_of, model=logs.model)
    listed = f", tokens at {'; '.join(f'{name}: {one.source}' for name, one in prices.items())}" if prices else ""
    hosted = PerCall(per_call=Money(found.cost_per_call), source=f"{found.words}{listed}")
    calls_per_period = block.calls_per_period
    if calls_per_period is None:
        calls_per_period = found.calls_per_period
        warnings.append(f"volume: {calls_per_period:,} calls a {block.period}, from {found.words}")
    if found.left_out:
        warnings.append(f"{found.left_out:,} calls of the log failed or came from a cache, and are left out")
    return block.model_copy(update={"hosted": hosted, "calls_per_period": calls_per_period}), warnings


def _stale(what: str, read: date | None, today: date) -> list[str]:
    if read is None or not is_stale(read, today):
        return []
    return [f"the price of {what} is STALE: read on {read}, more than {STALE_AFTER_DAYS} days ago"]


def _periods_between(schedule: Schedule, block: Lifetime, start: date) -> float:
    """Periods from one occurrence of a schedule to the next, on the average of a year."""
    zone = cron.zone_of(schedule.timezone)
    begin = datetime(start.year, start.month, start.day, tzinfo=zone)
    occurrences = 0
    for moment in cron.times(schedule.cron, zone, begin):
        if moment >= begin + _YEAR:
            break
        occurrences += 1
    return float(HOURS["year"] / HOURS[block.period]) / max(1, occurrences)


def train_cost(block: Lifetime, store: Store | None, job: JobRow | None) -> TrainCost | None:
    """What all runs and evaluations of the job really cost; or what the manifest assumes, and says so."""
    if isinstance(block.train_cost, Assumed):
        return TrainCost(block.train_cost.assumed, block.train_cost.source, is_assumed=True)
    if store is None or job is None:
        return None
    entries = store.ledger_of(job.id)
    spend = spend_of(entries)
    if spend.amount is None:
        return None
    statuses = "+".join(_standing(entries)) or spend.status
    source = f"ledger of job {job.id}, failed runs and evaluation included ({spend.source}, {statuses})"
    return TrainCost(Money(spend.amount, spend.currency), source, is_assumed=False, status=statuses)


def _standing(entries: Iterable[LedgerRow]) -> list[str]:
    """The kinds of entries that the sum is made of: what was reversed is none of them."""
    net: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        if entry.kind in sql.SPEND_KINDS:
            net[entry.kind, entry.source, entry.source_ref] += entry.amount_micro
    return sorted({kind for (kind, _, _), micro in net.items() if micro})


def quality_of(store: Store | None, job: JobRow | None) -> Quality:
    """What the newest evaluation against the hosted model found."""
    if store is None or job is None:
        return NOT_MEASURED
    for row in store.evaluations_of(job.id):
        found = json.loads(row.report)["quality"]
        if found["state"] != QualityState.NOT_MEASURED:
            return Quality(QualityState(found["state"]), str(found["words"]))
    return NOT_MEASURED
