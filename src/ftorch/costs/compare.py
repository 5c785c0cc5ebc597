"""Why one month cost more than another: more work, dearer work, more waste, new jobs. The parts add up to the micro.

Work is told apart by manifest name and provider. What runs that did not succeed cost is waste; what is left of work
that the earlier month did not have is new. For the rest the volume is what was billed by (tokens, seconds), or the
number of runs where the two months were billed by different things: (new volume - old volume) x old price is the
part of volume, and what remains is the part of price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from typing import Any

from ftorch.core.money import Money
from ftorch.costs import items
from ftorch.costs.months import Month
from ftorch.costs.report import OUTSIDE, Scope
from ftorch.store import Transaction, bill_sql

_Key = tuple[str, str]
_Line = tuple[Any, ...]
"""job, run, provider, source, unit, quantity, amount, scope: a row as the database gives it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one kind of work adds to the difference."""

    name: str
    provider: str
    before: Money
    after: Money
    volume: Money
    price: Money
    waste: Money
    new_jobs: Money
    unit: str
    """What its volume counts."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two months, and the difference taken apart. `volume + price + waste + new_jobs` is `difference`, exactly."""

    month: str
    against: str
    before: Money
    after: Money
    difference: Money
    volume: Money
    price: Money
    waste: Money
    new_jobs: Money
    changes: Sequence[Change]


@dataclass(slots=True)
class _Work:
    """What one kind of work took in one month."""

    useful_micro: int = 0
    waste_micro: int = 0
    runs: int = 0
    volumes: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, micro: int, *, is_waste: bool, volumes: Mapping[str, Decimal]) -> None:
        if is_waste:
            self.waste_micro += micro
            return
        self.useful_micro += micro
        self.runs += 1
        for unit, volume in volumes.items():
            self.volumes[unit] += volume


def compare(tx: Transaction, scope: Scope, month: Month, against: Month) -> Comparison:
    """Take the difference between two months apart, as known at the scope's `as_of`."""
    names = {str(row[0]): str(row[1]) for row in tx.counts(bill_sql.JOB_FACTS)}
    wasted = set(tx.pairs(bill_sql.WASTED_RUNS, as_of=scope.as_of))
    after, before = (_work(tx, scope, one, names, wasted) for one in (month, against))
    changes = [_change(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())]
    changes.sort(key=lambda change: (-abs(change.after.amount - change.before.amount), change.name, change.provider))
    return Comparison(
        month=month.name,
        against=against.name,
        before=_total(change.before for change in changes),
        after=_total(change.after for change in changes),
        difference=_total(change.after - change.before for change in changes),
        volume=_total(change.volume for change in changes),
        price=_total(change.price for change in changes),
        waste=_total(change.waste for change in changes),
        new_jobs=_total(change.new_jobs for change in changes),
        changes=changes,
    )


def _work(tx: Transaction, scope: Scope, month: Month, names: Mapping[str, str], wasted: set[str]) -> dict[_Key, _Work]:
    found: dict[_Key, _Work] = defaultdict(_Work)
    asked = replace(scope, start=month.start, end=month.end, job_id=None).parameters
    for run, lines in groupby(tx.each(bill_sql.LINES_OF_SPAN, **asked), key=lambda line: line[1]):
        for part in _runs(list(lines), is_run=run is not None):
            job, _, provider, *_ = part[0]
            micro = sum(line[6] for line in part)
            key = (names.get(job, OUTSIDE) if job else OUTSIDE, provider)
            found[key].add(micro, is_waste=run in wasted, volumes=_volumes(part))
    return found


def _runs(lines: Sequence[_Line], *, is_run: bool) -> Iterator[Sequence[_Line]]:
    """The lines of one run together; those without a run each for itself."""
    if is_run:
        yield lines
    else:
        yield from ([line] for line in lines)


def _volumes(lines: Sequence[_Line]) -> dict[str, Decimal]:
    """What the bill counts, where there is one; else what we counted. Covers count nothing, nor do fees beside it."""
    counting = [line for line in lines if line[7] == items.Scope.RUN] or lines
    billed = [line for line in counting if line[3] in items.BILL_SOURCES]
    volumes: dict[str, Decimal] = defaultdict(Decimal)
    for _, _, _, _, unit, quantity, *_ in billed or counting:
        volumes[str(unit)] += Decimal(str(quantity))
    return {unit: volume for unit, volume in volumes.items() if volume}


def _change(key: _Key, before: _Work | None, after: _Work | None) -> Change:
    then, now = before or _Work(), after or _Work()
    unit, volume = _volume_part(then, now)
    useful = now.useful_micro - then.useful_micro
    is_new = before is None
    parts = {
        "volume": 0 if is_new else volume,
        "price": 0 if is_new else useful - volume,
        "waste": now.waste_micro - then.waste_micro,
        "new_jobs": useful if is_new else 0,
    }
    return Change(
        name=key[0],
        provider=key[1],
        before=Money.from_micro(then.useful_micro + then.waste_micro),
        after=Money.from_micro(now.useful_micro + now.waste_micro),
        unit=unit,
        **{name: Money.from_micro(micro) for name, micro in parts.items()},
    )


def _volume_part(then: _Work, now: _Work) -> tuple[str, int]:
    """What the volumes are counted in, and (new volume - old volume) x old price in micro-USD."""
    units = then.volumes.keys() | now.volumes.keys()
    unit = next(iter(units)) if len(units) == 1 else "run"
    old, new = (work.volumes.get(unit, Decimal(0)) if len(units) == 1 else Decimal(work.runs) for work in (then, now))
    if not old:
        return unit, 0
    part = Decimal(then.useful_micro) * (new - old) / old
    return unit, int(part.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _total(amounts: Iterator[Money]) -> Money:
    return sum(amounts, Money(Decimal(0)))
