"""What a log comes to: calls per period, and what one of them costs.

Failed calls and answers from a cache of one's own are left out. The volume is the median of the complete calendar
months, brought to the period asked for; without a complete month it is that of the complete days. Less than seven days
of log is refused: a week has its own pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median

from ftorch.core.errors import DataError, Fault
from ftorch.costs.logs.call import Call
from ftorch.costs.sides import HOURS

_FEWEST_DAYS = 7
_DAY_HOURS = Decimal(24)

CostOf = Callable[[Call], Decimal]


@dataclass(frozen=True, slots=True)
class LogSummary:
    """Real calls, counted."""

    file: str
    first: date
    last: date
    paid: int
    left_out: int
    calls_per_period: int
    input_tokens: Decimal
    """Of one call, on the average."""
    output_tokens: Decimal
    cost_per_call: Decimal
    """In USD."""
    models: tuple[str, ...]
    """The busiest first."""

    @property
    def words(self) -> str:
        return f"{self.paid:,} calls in {self.file}, {self.first} to {self.last}"


def summarise(calls: Iterable[Call], path: Path, *, period: str, cost_of: CostOf, model: str | None) -> LogSummary:
    """Count a log. `cost_of` prices a call that the log does not. Raises DataError for too little of it."""
    days: Counter[date] = Counter()
    models: Counter[str] = Counter()
    left_out = read = written = 0
    cost = Decimal(0)
    for call in calls:
        if model is not None and call.model != model:
            continue
        if not call.is_paid:
            left_out += 1
            continue
        days[call.at.date()] += 1
        models[call.model] += 1
        read += call.input_tokens
        written += call.output_tokens
        cost += call.cost if call.cost is not None else cost_of(call)
    paid = days.total()
    _check_length(days, path, model)
    return LogSummary(
        file=path.name,
        first=min(days),
        last=max(days),
        paid=paid,
        left_out=left_out,
        calls_per_period=round(_per_day(days) * HOURS[period] / _DAY_HOURS),
        input_tokens=(Decimal(read) / paid).quantize(Decimal("0.1")),
        output_tokens=(Decimal(written) / paid).quantize(Decimal("0.1")),
        cost_per_call=cost / paid,
        models=tuple(name for name, _ in models.most_common()),
    )


def _per_day(days: Counter[date]) -> Decimal:
    """The median of complete months where there are any, else all days but the first and last, which may be parts."""
    first, last = min(days), max(days)
    months: Counter[tuple[int, int]] = Counter()
    length: Counter[tuple[int, int]] = Counter()
    day = first
    while day <= last:
        months[day.year, day.month] += days[day]
        length[day.year, day.month] += 1
        day += timedelta(days=1)
    complete = [Decimal(months[key]) / length[key] for key in months if length[key] == _days_in(*key)]
    if complete:
        return median(complete)
    inner = [days[first + timedelta(days=number)] for number in range(1, (last - first).days)]
    return Decimal(sum(inner)) / len(inner)


def _days_in(year: int, month: int) -> int:
    start = date(year, month, 1)
    return ((start + timedelta(days=32)).replace(day=1) - start).days


def _check_length(days: Counter[date], path: Path, model: str | None) -> None:
    if not days:
        words = f"holds no call of {model}" if model else "holds no call that was paid"
        raise DataError([Fault(words, file=str(path))])
    span = (max(days) - min(days)).days + 1
    if span < _FEWEST_DAYS:
        words = f"covers {span} days; {_FEWEST_DAYS} are the least, for a week has its own pattern"
        raise DataError([Fault(words, file=str(path), hint="export a longer time")])
