"""The two lifetimes as a plot of plain characters: any terminal, any log."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from ftorch.core.money import Money, plain
from ftorch.costs.lifetime import LifetimeReport, Point

HOSTED, TUNED, MEET = "*", "o", "X"
_TICKS = 4


def plot(report: LifetimeReport, *, width: int = 72, height: int = 14) -> str:
    """Cumulative cost over the months. Empty where the train cost is not known: half a plot would mislead."""
    if not report.course or not report.months:
        return ""
    top = max(max(point.hosted.amount, point.tuned.amount) for point in report.course)
    if top <= 0:
        return ""
    labels = [plain((top * (height - 1 - row) / (height - 1)).quantize(Decimal(1)))[:-3] for row in range(height)]
    margin = max(map(len, labels))
    columns = max(10, width - margin - 3)
    grid = [[" "] * columns for _ in range(height)]
    for column in range(columns):
        months = report.months * column / (columns - 1)
        _put(grid, column, at(report, months, hosted) / top, HOSTED)
        _put(grid, column, at(report, months, tuned) / top, TUNED)
    if report.crossover and report.crossover.months <= report.months:
        column = int((report.crossover.months / report.months * (columns - 1)).to_integral_value())
        _put(grid, column, at(report, report.crossover.months, hosted) / top, MEET)
    every = max(1, (height - 1) // _TICKS)
    rows = [
        f"{label if row % every == 0 or row == height - 1 else '':>{margin}} |{''.join(cells).rstrip()}"
        for row, (label, cells) in enumerate(zip(labels, grid, strict=True))
    ]
    return "\n".join([f"{'USD':>{margin}}", *rows, *_axis(report, margin, columns)])


def hosted(point: Point) -> Money:
    return point.hosted


def tuned(point: Point) -> Money:
    return point.tuned


def at(report: LifetimeReport, months: Decimal, line: Callable[[Point], Money]) -> Decimal:
    """Where a line is after so many months: between its corners it is straight."""
    before = report.course[0]
    for point in report.course:
        if point.months >= months and point.months > before.months:
            share = (months - before.months) / (point.months - before.months)
            return line(before).amount + share * (line(point).amount - line(before).amount)
        before = point
    return line(before).amount


def _put(grid: list[list[str]], column: int, share: Decimal, mark: str) -> None:
    row = len(grid) - 1 - int((share * (len(grid) - 1)).to_integral_value())
    grid[max(0, row)][column] = mark


def _axis(report: LifetimeReport, margin: int, columns: int) -> list[str]:
    total = report.fine_tune_lifetime.cents if report.fine_tune_lifetime else "unknown"
    end = f"{report.months.quantize(Decimal('0.1')).normalize():f} months"
    legend = f"{HOSTED} hosted {report.hosted_lifetime.cents}   {TUNED} fine-tuned {total}"
    if report.crossover:
        legend += f"   {MEET} crossover after {report.crossover.months.quantize(Decimal('0.01'))} months"
    indent = " " * (margin + 2)
    return [
        " " * (margin + 1) + "+" + "-" * columns,
        f"{indent}0{end:>{columns - 1}}",
        f"{indent}{legend}",
    ]
