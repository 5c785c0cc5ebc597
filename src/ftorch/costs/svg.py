"""The two lifetimes as an SVG of its own: no font, script or style from elsewhere; readable on light and dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from xml.sax.saxutils import escape

from ftorch.core.money import Money
from ftorch.costs.lifetime import LifetimeReport

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 40, 64, 56
_HOSTED, _TUNED, _INK, _GRID = "#c2410c", "#1d4ed8", "#333333", "#d4d4d8"
_SIZE = 13
LETTER = 0.6
"""Width of a letter over its size, a little wider than usual fonts are: for keeping labels apart."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a point; `anchor` is SVG's: start, middle or end."""

    x: float
    y: float
    words: str
    anchor: str = "start"
    colour: str = _INK

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, estimated."""
        width = len(self.words) * _SIZE * LETTER
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - _SIZE, left + width, self.y + 4

    def svg(self) -> str:
        return (
            f'<text x="{self.x:.1f}" y="{self.y:.1f}" text-anchor="{self.anchor}" fill="{self.colour}">'
            f"{escape(self.words)}</text>"
        )


def svg(report: LifetimeReport) -> str:
    """Cumulative cost over the months, with the crossover. Raises ValueError where the train cost is not known."""
    if report.train is None or report.fine_tune_lifetime is None:
        raise ValueError("a line that starts at an unknown train cost cannot be drawn")
    train = report.train.amount
    top = max(report.hosted_lifetime.amount, report.fine_tune_lifetime.amount, train.amount, Decimal("0.01"))
    floor, ceiling = HEIGHT - _BOTTOM, _TOP

    def y(amount: Money) -> float:
        return floor - float(amount.amount / top) * (floor - ceiling)

    right = WIDTH - _RIGHT
    lines = (
        _line((_LEFT, floor), (right, y(report.hosted_lifetime)), _HOSTED),
        _line((_LEFT, y(train)), (right, y(report.fine_tune_lifetime)), _TUNED),
    )
    summary = _summary(report)
    texts = "".join(label.svg() for label in labels(report))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="{_SIZE}">\n'
        f"<title>Hosted against fine-tuned over {_months(report)} months</title>\n<desc>{escape(summary)}</desc>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>\n'
        f'<path d="M{_LEFT},{ceiling} V{floor} H{right}" fill="none" stroke="{_GRID}"/>\n'
        f"{''.join(lines)}\n{_meeting_point(report, y)}\n{texts}\n</svg>\n"
    )


def labels(report: LifetimeReport) -> list[Label]:
    """Every text of the picture."""
    assert report.train is not None
    assert report.fine_tune_lifetime is not None
    floor, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    return [
        Label(_LEFT - 8, floor + 4, "0 USD", "end"),
        Label(_LEFT, floor + 20, "0"),
        Label(right, floor + 20, f"{_months(report)} months", "end"),
        Label(_LEFT, 24, f"hosted {report.hosted_lifetime}", colour=_HOSTED),
        Label(right, 24, f"fine-tuned {report.fine_tune_lifetime}", "end", colour=_TUNED),
        Label(_LEFT, 46, _crossover_words(report)),
        Label(WIDTH / 2, HEIGHT - 12, f"{report.calls_per_period:,} calls per {report.period}", "middle"),
    ]


def _meeting_point(report: LifetimeReport, y: Callable[[Money], float]) -> str:
    crossover = report.crossover
    if crossover is None or crossover.months > report.months:
        return ""
    x = _LEFT + float(crossover.months / report.months) * (WIDTH - _LEFT - _RIGHT)
    height = y(report.line(report.hosted, crossover.months))
    return (
        f'<path d="M{x:.1f},{height:.1f} V{HEIGHT - _BOTTOM}" stroke="{_INK}" stroke-dasharray="3 4"/>'
        f'<circle cx="{x:.1f}" cy="{height:.1f}" r="5" fill="#ffffff" stroke="{_INK}" stroke-width="2"/>'
    )


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="2.5"/>'


def _crossover_words(report: LifetimeReport) -> str:
    if report.crossover is None:
        return "the lines never cross"
    months = report.crossover.months.quantize(Decimal("0.01"))
    return f"they cross after {months} months, {report.crossover.calls.quantize(Decimal(1)):,} calls"


def _summary(report: LifetimeReport) -> str:
    return (
        f"Hosted {report.hosted_lifetime}, fine-tuned {report.fine_tune_lifetime}, saving {report.saving}; "
        f"{_crossover_words(report)}."
    )


def _months(report: LifetimeReport) -> str:
    return f"{report.months.quantize(Decimal('0.1')).normalize():f}"
