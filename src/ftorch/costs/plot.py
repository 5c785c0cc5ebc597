"""The two lifetimes as a plot of plain characters: any terminal, any log."""

from __future__ import annotations

from decimal import Decimal

from ftorch.core.money import plain
from ftorch.costs.lifetime import LifetimeReport

HOSTED, TUNED, MEET = "*", "o", "X"
_TICKS = 4


def plot(report: LifetimeReport, *, width: int = 72, height: int = 14) -> str:
    """Cumulative cost over the months. Empty where the train cost is not known: half a plot would mislead."""
    if report.train is None or report.fine_tune_lifetime is None:
        return ""
    train = report.train.amount.amount
    top = max(report.hosted_lifetime.amount, report.fine_tune_lifetime.amount, train)
    if top <= 0:
        return ""
    labels = [plain((top * (height - 1 - row) / (height - 1)).quantize(Decimal(1)))[:-3] for row in range(height)]
    margin = max(map(len, labels))
    columns = max(10, width - margin - 3)
    grid = [[" "] * columns for _ in range(height)]
    for column in range(columns):
        months = report.months * column / (columns - 1)
        _put(grid, column, report.line(report.hosted, months).amount / top, HOSTED)
        _put(grid, column, (train + report.line(report.tuned, months).amount) / top, TUNED)
    if report.crossover and report.crossover.months <= report.months:
        column = int((report.crossover.months / report.months * (columns - 1)).to_integral_value())
        _put(grid, column, report.line(report.hosted, report.crossover.months).amount / top, MEET)
    every = max(1, (height - 1) // _TICKS)
    rows = [
        f"{label if row % every == 0 or row == height - 1 else '':>{margin}} |{''.join(cells).rstrip()}"
        for row, (label, cells) in enumerate(zip(labels, grid, strict=True))
    ]
    return "\n".join([f"{'USD':>{margin}}", *rows, *_axis(report, margin, columns)])


def _put(grid: list[list[str]], column: int, share: Decimal, mark: str) -> None:
    row = len(grid) - 1 - int((share * (len(grid) - 1)).to_integral_value())
    grid[max(0, row)][column] = mark


def _axis(report: LifetimeReport, margin: int, columns: int) -> list[str]:
    end = f"{report.months.quantize(Decimal('0.1')).normalize():f} months"
    legend = f"{HOSTED} hosted {report.hosted_lifetime}   {TUNED} fine-tuned {report.fine_tune_lifetime}"
    if report.crossover:
        legend += f"   {MEET} crossover after {report.crossover.months.quantize(Decimal('0.01'))} months"
    indent = " " * (margin + 2)
    return [
        " " * (margin + 1) + "+" + "-" * columns,
        f"{indent}0{end:>{columns - 1}}",
        f"{indent}{legend}",
    ]
