"""The two lifetimes as an SVG of its own: no font, script or style from elsewhere; readable on light and dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from xml.sax.saxutils import escape

from ftorch.core.money import Money
from ftorch.costs.lifetime import LifetimeReport, Point
from ftorch.costs.plot import at, hosted, tuned
from ftorch.costs.sides import months_of

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 40, 64, 56
_HOSTED, _TUNED, _INK, _GRID, _BAND = "#c2410c", "#1d4ed8", "#333333", "#d4d4d8", "#e4e4e7"
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
    """Cumulative cost over the months, with the crossover and its 90 % interval.

    Raises ValueError where the train cost is not known, or nothing lies between start and end.
    """
    if not report.course or not report.months:
        raise ValueError("a line that starts at an unknown train cost cannot be drawn")
    top = max(*(max(point.hosted.amount, point.tuned.amount) for point in report.course), Decimal("0.01"))
    floor, ceiling = HEIGHT - _BOTTOM, _TOP

    def y(amount: Decimal) -> float:
        return floor - float(amount / top) * (floor - ceiling)

    right = WIDTH - _RIGHT
    lines = (_line(report, y, hosted, _HOSTED), _line(report, y, tuned, _TUNED))
    texts = "".join(label.svg() for label in labels(report))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="{_SIZE}">\n'
        f"<title>Hosted against fine-tuned over {_months(report)} months</title>\n"
        f"<desc>{escape(_summary(report))}</desc>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>\n'
        f"{_interval(report)}"
        f'<path d="M{_LEFT},{ceiling} V{floor} H{right}" fill="none" stroke="{_GRID}"/>\n'
        f"{''.join(lines)}\n{_meeting_point(report, y)}\n{texts}\n</svg>\n"
    )


def labels(report: LifetimeReport) -> list[Label]:
    """Every text of the picture."""
    floor, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    return [
        Label(_LEFT - 8, floor + 4, "0 USD", "end"),
        Label(_LEFT, floor + 20, "0"),
        Label(right, floor + 20, f"{_months(report)} months", "end"),
        Label(_LEFT, 24, f"hosted {report.hosted_lifetime.cents}", colour=_HOSTED),
        Label(right, 24, f"fine-tuned {_cents(report.fine_tune_lifetime)}", "end", colour=_TUNED),
        Label(_LEFT, 46, _crossover_words(report)),
        Label(WIDTH / 2, HEIGHT - 12, _volume(report), "middle"),
    ]


def _x(report: LifetimeReport, months: Decimal) -> float:
    return _LEFT + float(min(months, report.months) / report.months) * (WIDTH - _LEFT - _RIGHT)


def _interval(report: LifetimeReport) -> str:
    """Where the crossover lies in 90 of 100 draws, as a band behind the lines."""
    drawn = report.chance
    low = drawn.crossover_low * months_of(report.period) if drawn and drawn.crossover_low is not None else None
    if drawn is None or low is None or low >= report.months:
        return ""
    high = drawn.crossover_high
    end = report.months if high is None else high * months_of(report.period)
    left, right = _x(report, low), _x(report, end)
    return (
        f'<rect x="{left:.1f}" y="{_TOP}" width="{max(right - left, 1.0):.1f}" height="{HEIGHT - _TOP - _BOTTOM}" '
        f'fill="{_BAND}"/>\n'
    )


def _meeting_point(report: LifetimeReport, y: Callable[[Decimal], float]) -> str:
    crossover = report.crossover
    if crossover is None or crossover.months > report.months:
        return ""
    x = _x(report, crossover.months)
    height = y(at(report, crossover.months, hosted))
    return (
        f'<path d="M{x:.1f},{height:.1f} V{HEIGHT - _BOTTOM}" stroke="{_INK}" stroke-dasharray="3 4"/>'
        f'<circle cx="{x:.1f}" cy="{height:.1f}" r="5" fill="#ffffff" stroke="{_INK}" stroke-width="2"/>'
    )


def _line(report: LifetimeReport, y: Callable[[Decimal], float], line: Callable[[Point], Money], colour: str) -> str:
    corners = " ".join(f"{_x(report, point.months):.1f},{y(line(point).amount):.1f}" for point in report.course)
    return f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2.5"/>'


def _crossover_words(report: LifetimeReport) -> str:
    if report.crossover is None:
        share = 1 - report.chance.never if report.chance else 0.0
        return "the lines never cross" + (f", but in {share:.0%} of the draws" if share else "")
    months = report.crossover.months.quantize(Decimal("0.01"))
    return f"they cross after {months} months{_between(report)}, {report.crossover.calls.quantize(Decimal(1)):,} calls"


def _cents(amount: Money | None) -> str:
    return str(amount.cents) if amount else "unknown"


def _between(report: LifetimeReport) -> str:
    """The interval of the crossover in months, in words."""
    drawn = report.chance
    if drawn is None or drawn.crossover_low is None:
        return ""
    ends = (drawn.crossover_low, drawn.crossover_high)
    low, high = (f"{end * months_of(report.period):.2f}" if end is not None else "never" for end in ends)
    return "" if low == high else f" ({low} to {high})"


def _volume(report: LifetimeReport) -> str:
    growth = f", {100 * report.growth:+.3g} % each" if report.growth else ""
    shutdown = f"; hosted until {report.shutdown}" if report.shutdown else ""
    return f"{report.calls_per_period:,} calls per {report.period}{growth}{shutdown}"


def _summary(report: LifetimeReport) -> str:
    return (
        f"Hosted {report.hosted_lifetime.cents}, fine-tuned {_cents(report.fine_tune_lifetime)}, "
        f"saving {_cents(report.saving)}; "
        f"{_crossover_words(report)}."
    )


def _months(report: LifetimeReport) -> str:
    return f"{report.months.quantize(Decimal('0.1')).normalize():f}"
