"""A quarter of work at three providers, drawn by a seed: what their bills say, when they say it, and the hidden truth.

`alpha` names our key in every line, `beta` only its own id of the run, `gamma` has no bill. Lines come late, are
corrected, refunded and credited; between them stand inference, colleagues, another installation, fees and tax.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from ftorch.core.clock import ManualClock
from ftorch.core.errors import CredentialsError
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.costs import ledger
from ftorch.costs.items import BILL_SOURCES, EntryKind, LineItem, SpendSource, Window
from ftorch.jobs.context import Context
from ftorch.providers.base import Account, Provider
from ftorch.store import JobRow, RunRow, SqliteStore, Store
from unit.jobs.rows import job, run

START = datetime(2026, 7, 1, tzinfo=UTC)
END = datetime(2026, 10, 1, tzinfo=UTC)
INSTALLATION = "abc123"
STRANGER = "zzzzzz"
ACCOUNT = "acct"
LAG = timedelta(hours=36)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTLED = END + timedelta(days=45)
_TEAMS = ("red", "blue", "")
_BASES = ("qwen-8b", "llama-8b")
_USED_UP = ("succeeded",) * 17 + ("failed", "stopped", "timed_out")


@dataclass(frozen=True)
class Reading:
    """A line as the bill shows it from a moment on."""

    visible_at: datetime
    item: LineItem


@dataclass
class Quarter:
    """All that happened, and the truth about it."""

    seed: int
    jobs: list[JobRow] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    charges: dict[str, list[LineItem]] = field(default_factory=dict)
    """Run key -> what its provider's record, or our clock, says at its end."""
    lines: dict[str, dict[str, list[Reading]]] = field(default_factory=lambda: {"alpha": {}, "beta": {}})
    """Provider -> reference -> its readings, oldest first."""
    truth: Counter[str] = field(default_factory=Counter)
    """Run key -> what it cost in the end, in micro-USD."""
    foreign: Counter[str] = field(default_factory=Counter)
    """Provider -> what of its bill is not ours."""
    credits: Counter[str] = field(default_factory=Counter)
    tax: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    """Provider -> what a fault planted."""

    def end_of(self, key: str) -> datetime:
        [found] = [one for one in self.runs if one.key == key]
        assert found.billable_to is not None
        return found.billable_to


def draw(seed: int, jobs: int) -> Quarter:
    """A quarter with so many jobs."""
    chance, made, ids = Random(seed), Quarter(seed), Ids(Random(seed).getrandbits)
    for number in range(jobs):
        _job(made, chance, ids, number)
    for provider in ("alpha", "beta"):
        _strangers(made, chance, provider, ids, days=min(92, jobs))
    return made


def _job(made: Quarter, chance: Random, ids: Ids, number: int) -> None:
    at = START + timedelta(seconds=chance.randrange(int((END - START).total_seconds()) - 20 * 3600))
    job_id = ids.ulid(at)
    team = chance.choice(_TEAMS)
    provider = chance.choice(("alpha", "alpha", "beta", "gamma"))
    made.jobs.append(
        job(
            id=job_id,
            name=f"job-{number % 40}",
            provider=provider,
            base_model=chance.choice(_BASES),
            labels=f'{{"team": "{team}"}}' if team else "{}",
            state="succeeded",
            created_at=at,
            ended_at=at + 10 * HOUR,
            estimate_micro=chance.randrange(500_000, 40_000_000),
            estimate_source="estimate",
        )
    )
    for attempt in range(2 if chance.random() < 0.1 else 1):
        at = _run(made, chance, ids, job_id, provider, attempt + 1, at)


def _run(made: Quarter, chance: Random, ids: Ids, job_id: str, provider: str, number: int, at: datetime) -> datetime:
    """One run with its charge and its lines; returns when it ended."""
    key = f"ft-{INSTALLATION}-{ids.ulid(at)}"
    start = at + timedelta(seconds=chance.randrange(60, 600))
    end = start + timedelta(seconds=chance.randrange(600, 8 * 3600))
    row = run(
        key=key,
        job_id=job_id,
        number=number,
        provider=provider,
        account=ACCOUNT,
        remote_id=f"{provider}-{len(made.runs) + 1}",
        state=chance.choice(_USED_UP),
        created_at=at,
        sent_at=at,
        billable_from=start,
        billable_to=end,
        ended_at=end,
        released_at=end,
        charged_at=end,
        settled_at=end + LAG,
    )
    made.runs.append(row)
    rate = Decimal(chance.randrange(100, 900)) / 100
    first = _hours(made, chance, row, rate) if provider != "gamma" else Money(rate * Window(start, end).seconds / 3600)
    made.charges[key] = [_charge(row, Decimal(chance.randrange(9_960, 10_041)) / 10_000 * first.amount, rate)]
    if provider == "gamma":
        made.truth[key] = made.charges[key][0].amount.micro
    return end


def _charge(row: RunRow, usd: Decimal, rate: Decimal) -> LineItem:
    assert row.billable_from is not None
    assert row.billable_to is not None
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=f"{row.remote_id}/price",
        kind=EntryKind.PROVISIONAL,
        amount=Money(usd),
        quantity=Window(row.billable_from, row.billable_to).seconds,
        unit="second",
        unit_price=rate / 3600,
        period=Window(row.billable_from, row.billable_to),
        as_of=row.billable_to,
        description=f"the record of {row.remote_id}",
        run_key=row.key,
    )


def _hours(made: Quarter, chance: Random, row: RunRow, rate: Decimal) -> Money:
    """A line for each hour, some of them late, some corrected; a refund or a credit for some runs."""
    assert row.billable_from is not None
    assert row.billable_to is not None
    start, total = row.billable_from, Decimal(0)
    is_late = chance.random() < 0.1
    while start < row.billable_to:
        stop = min(start.replace(minute=0, second=0) + HOUR, row.billable_to)
        seconds = Window(start, stop).seconds
        usd = rate * seconds / 3600
        total += usd
        shown = stop + timedelta(minutes=chance.randrange(180)) + (2 * DAY if is_late else timedelta(0))
        item = _line(row, f"{row.remote_id}/{start:%Y%m%dT%H}", EntryKind.BILLED, usd, Window(start, stop), shown)
        _add(made, row, replace(item, quantity=seconds, unit="second", unit_price=rate / 3600), chance)
        start = stop
    if chance.random() < 0.03:
        _later(made, chance, row, EntryKind.ADJUSTED, -total / 2, "refund")
    if chance.random() < 0.02:
        _later(made, chance, row, EntryKind.CREDIT, Decimal("-1.25"), "credit")
    return Money(total)


def _later(made: Quarter, chance: Random, row: RunRow, kind: EntryKind, usd: Decimal, name: str) -> None:
    assert row.billable_to is not None
    at = row.billable_to + timedelta(days=chance.randrange(1, 12))
    _add(made, row, _line(row, f"{row.remote_id}/{name}", kind, usd, Window(at, at + HOUR), at + HOUR), None)


def _add(made: Quarter, row: RunRow, item: LineItem, chance: Random | None) -> None:
    """Put a line on the bill; by chance it is corrected later."""
    readings = [Reading(item.as_of, item)]
    while chance is not None and chance.random() < 0.05:
        last = readings[-1].item
        # Until its lag is over an amount only settles; what changes it afterwards is a correction.
        as_of = max(last.as_of, item.period.end + LAG) + timedelta(hours=chance.randrange(1, 240))
        as_of = as_of.replace(minute=chance.randrange(45))  # pulls are at full hours, and not just then
        usd = last.amount.amount * Decimal(chance.randrange(80, 130)) / 100
        readings.append(Reading(as_of, replace(last, amount=Money(usd), as_of=as_of)))
    made.lines[row.provider][item.source_ref] = readings
    final = readings[-1].item
    if final.kind is EntryKind.CREDIT:
        made.credits[row.provider] += final.amount.micro
    else:
        made.truth[row.key] += final.amount.micro


def _line(row: RunRow, ref: str, kind: EntryKind, usd: Decimal, period: Window, as_of: datetime) -> LineItem:
    is_alpha = row.provider == "alpha"
    return LineItem(
        source=SpendSource.BILLING_API,
        source_ref=ref,
        kind=kind,
        amount=Money(usd),
        quantity=Decimal(1),
        unit="line",
        unit_price=None,
        period=period,
        as_of=as_of,
        description=f"{kind.value} for {row.remote_id}",
        run_key=row.key if is_alpha else None,
        remote_id=None if is_alpha else row.remote_id,
    )


def _strangers(made: Quarter, chance: Random, provider: str, ids: Ids, *, days: int) -> None:
    """What else is on the account's bill, day by day."""
    for day in range(days):
        at = START + day * DAY
        for name, kind, key in (
            ("inference", EntryKind.BILLED, None),
            ("a colleague's training", EntryKind.BILLED, None),
            ("their installation", EntryKind.BILLED, f"ft-{STRANGER}-{ids.ulid(at)}"),
            *((("platform fee", EntryKind.BILLED, None),) if day % 30 == 0 else ()),
            *((("sales tax", EntryKind.TAX, None), ("promotion", EntryKind.CREDIT, None)) if day % 30 == 29 else ()),
        ):
            usd = Decimal(chance.randrange(1, 2_000_000)) / 100_000 * (-1 if kind is EntryKind.CREDIT else 1)
            item = LineItem(
                source=SpendSource.BILLING_API,
                source_ref=f"{name}/{day}",
                kind=kind,
                amount=Money(usd),
                quantity=Decimal(1),
                unit="line",
                unit_price=None,
                period=Window(at, at + DAY),
                as_of=at + DAY,
                description=name,
                run_key=key,
            )
            made.lines[provider][item.source_ref] = [Reading(at + DAY, item)]
            sums = {EntryKind.TAX: made.tax, EntryKind.CREDIT: made.credits}.get(kind, made.foreign)
            sums[provider] += item.amount.micro


def plant_unknown_run(made: Quarter) -> LineItem:
    """A line that carries our mark, for a run that no row knows."""
    first = next(iter(made.lines["alpha"].values()))[0].item
    key = f"ft-{INSTALLATION}-{Ids(Random(99).getrandbits).ulid(START)}"
    period = Window(START, START + HOUR)
    item = replace(first, source_ref="planted", run_key=key, amount=Money(Decimal("7.77")), period=period)
    made.lines["alpha"]["planted"] = [Reading(item.as_of, item)]
    made.unexplained["alpha"] += item.amount.micro
    return item


class Biller:
    """A provider that is asked for nothing but its bill."""

    def __init__(self, quarter: Quarter, name: str, clock: ManualClock) -> None:
        self.name = name
        self.capabilities = SimpleNamespace(
            settle_lag_s=LAG.total_seconds(),
            spend_source=SpendSource.RUN_RECORD if name == "gamma" else SpendSource.BILLING_API,
        )
        self._quarter, self._clock = quarter, clock
        if name == "gamma":
            return
        self.line_items = self._line_items

    def check(self) -> Account:
        return Account(ACCOUNT, self.name)

    def _line_items(self, window: Window) -> Iterator[LineItem]:
        now = self._clock.now()
        for readings in self._quarter.lines[self.name].values():
            shown = [reading.item for reading in readings if reading.visible_at <= now]
            if shown and window.start <= shown[-1].period.start < window.end:
                yield shown[-1]


@contextmanager
def office(folder: Path, quarter: Quarter, store: Store | None = None) -> Iterator[Context]:
    """An installation that has all jobs and runs of the quarter, at its beginning."""
    clock = ManualClock(START)
    opened = store or SqliteStore.open(folder / "ftorch.db")
    billers = {name: Biller(quarter, name, clock) for name in ("alpha", "beta", "gamma")}

    def open_provider(name: str) -> Provider:
        if name not in billers:
            raise CredentialsError(f"{name} is not set up")
        return cast(Provider, billers[name])

    context = Context(
        store=opened,
        clock=clock,
        ids=Ids(),
        home=Home(folder),
        installation=INSTALLATION,
        env={},
        open_provider=open_provider,
    )
    furnish(opened, quarter)
    yield context
    if store is None:
        opened.close()


def furnish(store: Store, quarter: Quarter) -> None:
    def change(tx: Any) -> None:
        for one in quarter.jobs:
            tx.insert_job(one, "{}")
        for row in quarter.runs:
            tx.insert_run(row)

    store.write(change)


def charge_ended(context: Context, quarter: Quarter, since: datetime) -> None:
    """What the engine does: each run that has ended between then and now is charged."""
    now = context.clock.now()
    ended = [row for row in quarter.runs if row.ended_at and since < row.ended_at <= now]

    def change(tx: Any) -> None:
        for row in ended:
            ledger.post_charges(tx, row, quarter.charges[row.key], now=now)

    if ended:
        context.store.write(change)


def move_to(context: Context, moment: datetime) -> None:
    clock = context.clock
    assert isinstance(clock, ManualClock)
    clock.advance((moment - clock.now()).total_seconds())


def spent_by_run(store: Store) -> dict[str, int]:
    """Run key -> its spend as the ledger has it."""
    sums: Counter[str] = Counter()
    for entry in store.ledger():
        if entry.kind in ("provisional", "billed", "adjusted") and entry.place == "run" and entry.run_key:
            sums[entry.run_key] += entry.amount_micro
    return dict(sums)


def standing(store: Store) -> Mapping[tuple[object, ...], int]:
    """All that matters in the end: every line's sum, where it went, and every run's."""
    sums: Counter[tuple[object, ...]] = Counter()
    for entry in store.ledger():
        is_line = entry.source in BILL_SOURCES
        what = (entry.provider, entry.source_ref if is_line else "charges", entry.kind, entry.place, entry.run_key)
        sums[what] += entry.amount_micro
    return {what: micro for what, micro in sums.items() if micro}
