"""Which input moves the saving most, as an SVG of its own: a bar per input, the widest on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from xml.sax.saxutils import escape

from ftorch.core.money import Money
from ftorch.costs.chance import Swing
from ftorch.costs.lifetime import LifetimeReport
from ftorch.costs.svg import Label

WIDTH = 760
_LEFT, _RIGHT, _TOP, _ROW = 190, 40, 70, 44
_BAR = 16
_PAST, _SAME, _INK, _GRID = "#c2410c", "#1d4ed8", "#333333", "#d4d4d8"


def svg(report: LifetimeReport) -> str:
    """The saving at each input's low and high figure. Raises ValueError where the train cost is not known."""
    if report.saving is None:
        raise ValueError("a saving that is not known cannot be moved")
    place = _places(report, report.saving)
    height = height_of(report)
    bars = "".join(_bar(number, swing, place) for number, swing in enumerate(report.tornado))
    middle, zero = place(report.saving.amount), place(Decimal(0))
    texts = "".join(label.svg() for label in labels(report))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">\n'
        f"<title>Which input moves the saving most</title>\n<desc>{escape(_summary(report.tornado))}</desc>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>\n'
        f'<path d="M{zero:.1f},{_TOP - 12} V{height - 34}" stroke="{_GRID}" stroke-width="2"/>\n'
        f"{bars}\n"
        f'<path d="M{middle:.1f},{_TOP - 12} V{height - 34}" stroke="{_INK}" stroke-dasharray="3 4"/>\n'
        f"{texts}\n</svg>\n"
    )


def height_of(report: LifetimeReport) -> int:
    return _TOP + _ROW * max(1, len(report.tornado)) + 40


def labels(report: LifetimeReport) -> list[Label]:
    """Every text of the picture."""
    assert report.saving is not None
    place = _places(report, report.saving)
    found = [
        Label(WIDTH / 2, 22, f"saving {_whole(report.saving)}, and how far each input moves it", "middle"),
        Label(WIDTH / 2, 42, "red: past zero", "middle", colour=_PAST),
        Label(place(Decimal(0)), height_of(report) - 14, "0 USD", "middle"),
    ]
    for number, swing in enumerate(report.tornado):
        y = _TOP + number * _ROW + _BAR - 4
        found.append(Label(_LEFT - 12, y, swing.input.replace("_", " "), "end"))
        left, right = sorted((swing.saving_at_low, swing.saving_at_high))
        below = y + _BAR + 4
        found.append(Label(_LEFT, below, _whole(left)))
        found.append(Label(WIDTH - _RIGHT, below, _whole(right), "end"))
    return found


def _places(report: LifetimeReport, saving: Money) -> Callable[[Decimal], float]:
    """Dollars to pixels: all ends and zero lie inside."""
    ends = [end.amount for swing in report.tornado for end in (swing.saving_at_low, swing.saving_at_high)]
    low, high = min(*ends, saving.amount, Decimal(0)), max(*ends, saving.amount, Decimal(0))
    span = (high - low) or Decimal(1)
    return lambda amount: _LEFT + float((amount - low) / span) * (WIDTH - _LEFT - _RIGHT)


def _bar(number: int, swing: Swing, place: Callable[[Decimal], float]) -> str:
    ends = sorted((place(swing.saving_at_low.amount), place(swing.saving_at_high.amount)))
    y = _TOP + number * _ROW
    colour = _PAST if swing.flips else _SAME
    return (
        f'<rect x="{ends[0]:.1f}" y="{y}" width="{max(ends[1] - ends[0], 1.0):.1f}" height="{_BAR}" '
        f'fill="{colour}" fill-opacity="0.7"/>'
    )


def _whole(amount: Money) -> str:
    return f"{amount.amount:,.0f} {amount.currency}"


def _summary(swings: Sequence[Swing]) -> str:
    told = (f"{swing.input}: {swing.saving_at_low} to {swing.saving_at_high}" for swing in swings)
    return "; ".join(told) or "no figure is uncertain"
