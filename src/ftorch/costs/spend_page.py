"""A spend report as one HTML page: no script, font or picture from elsewhere; for light, dark and paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape

from ftorch.core.money import plain
from ftorch.costs.report import SpendReport, SpendRow

_MOST_BARS = 12
_WIDTH, _LEFT, _RIGHT = 760, 190, 130
_BAR, _GAP = 18, 8
_TALL, _FLOOR = 220, 40
_STYLE = """
:root { --ink: #1f2328; --soft: #656d76; --line: #d0d7de; --paper: #ffffff; --good: #1d4ed8; --waste: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117;
  --good: #6ea8fe; --waste: #f0883e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { color: var(--soft); margin: .3rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1.2rem 0; } .tiles div { min-width: 8rem; }
.tiles b { display: block; font-size: 1.25rem; color: var(--ink); font-variant-numeric: tabular-nums; }
.tiles div > span { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tfoot td { font-weight: 600; } .wide { overflow-x: auto; }
svg { width: 100%; height: auto; display: block; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
.good { fill: var(--good); } .waste { fill: var(--waste); }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; vertical-align: baseline; }
"""
_COLUMNS = ("spend", "list", "billed", "credits", "tax", "waste", "estimate", "error")


def spend_page(report: SpendReport, months: SpendReport) -> str:
    """The whole page. `months` is the same spend by month, for the second picture."""
    heading = report.by.removeprefix("label:")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Spend by {escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Spend by {escape(heading)}</h1>\n<p>{_scope(report)}</p>\n{_tiles(report.in_all)}\n"
        f"{_section(f'By {heading}', _LEGEND, _bars(report))}\n{_section('By month', _LEGEND, _columns(months))}\n"
        f"<h2>All of it</h2>\n{_table(heading, report)}\n{_unpriced(report)}</body>\n</html>\n"
    )


def _scope(report: SpendReport) -> str:
    known = f"as known at {report.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if report.start is None or report.end is None:
        return f"Everything, {known}; amounts in USD, without credits and tax."
    span = f"{report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC"
    return f"{span} (a month of {escape(report.timezone)}), {known}; amounts in USD, without credits and tax."


def _tiles(whole: SpendRow) -> str:
    amounts = (
        ("spend", whole.amount),
        ("on bills", whole.billed),
        ("not billed yet", whole.provisional),
        ("waste", whole.waste),
        ("credits", whole.credits),
        ("tax", whole.tax),
    )
    shown = "".join(f"<div><b>{_exact(amount)}</b><span>{name}</span></div>" for name, amount in amounts)
    return f'<div class="tiles">{shown}</div>'


_LEGEND = (
    '<p><i class="key" style="background: var(--good)"></i>succeeded or open'
    '<i class="key" style="background: var(--waste)"></i>waste: failed, cancelled or killed</p>'
)


def _section(title: str, legend: str, picture: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{legend}\n{picture}" if picture else ""


@dataclass(frozen=True, slots=True)
class _Bar:
    """A group in the picture: what was of use, and what was waste."""

    name: str
    amount: Decimal
    waste: Decimal

    @property
    def parts(self) -> Sequence[tuple[str, Decimal]]:
        waste = min(max(self.waste, Decimal(0)), self.shown)
        return (("good", self.shown - waste), ("waste", waste))

    @property
    def shown(self) -> Decimal:
        """A refund may leave less than nothing: there is no bar for it, only its number."""
        return max(self.amount, Decimal(0))


def _bars(report: SpendReport) -> str:
    """The largest groups as bars to the right; what the others come to is said, for a bar would dwarf them all."""
    rows = [_Bar(row.key, row.amount, row.waste) for row in report.rows]
    shown, rest = rows[:_MOST_BARS], rows[_MOST_BARS:]
    if not shown:
        return ""
    scale = (_WIDTH - _LEFT - _RIGHT) / float(max(*(bar.shown for bar in shown), Decimal("0.000001")))
    height = (len(shown) + bool(rest)) * (_BAR + _GAP) + _GAP
    drawn = "".join(_bar(bar, _GAP + i * (_BAR + _GAP), scale) for i, bar in enumerate(shown))
    if rest:
        words = f"{len(rest)} more: {_cents(sum((bar.amount for bar in rest), Decimal(0)))}"
        drawn += f'<text class="soft" x="{_LEFT}" y="{height - _GAP - 4.5:.1f}">{words}</text>'
    return _svg(height, f"Spend by {report.by.removeprefix('label:')}, the largest first", drawn)


def _bar(bar: _Bar, top: float, scale: float) -> str:
    x, drawn = float(_LEFT), ""
    for part, amount in bar.parts:
        width = float(amount) * scale
        drawn += (
            f'<rect class="{part}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_BAR}"/>' if amount else ""
        )
        x += width
    middle = top + _BAR - 4.5
    return (
        f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(_short(bar.name, 26))}</text>{drawn}'
        f'<text class="soft" x="{x + 6:.1f}" y="{middle:.1f}">{_cents(bar.amount)}</text>'
    )


def _columns(months: SpendReport) -> str:
    """A column for each month, oldest first; of many the newest two years."""
    bars = [_Bar(row.key, row.amount, row.waste) for row in months.rows][-24:]
    if not bars:
        return ""
    scale = (_TALL - _FLOOR - 24) / float(max(*(bar.shown for bar in bars), Decimal("0.000001")))
    step = min((_WIDTH - 20) / len(bars), 110.0)
    drawn = "".join(_column(bar, 10 + i * step, step, scale, is_wide=step > 56) for i, bar in enumerate(bars))
    return _svg(_TALL, "Spend by month, oldest first", drawn)


def _column(bar: _Bar, left: float, step: float, scale: float, *, is_wide: bool) -> str:
    floor, drawn, width = float(_TALL - _FLOOR), "", step - 12
    for part, amount in bar.parts:
        height = float(amount) * scale
        floor -= height
        drawn += (
            f'<rect class="{part}" x="{left + 6:.1f}" y="{floor:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
            if amount
            else ""
        )
    middle = left + step / 2
    name = bar.name if is_wide else bar.name[2:]
    amount_words = (
        f'<text class="soft" x="{middle:.1f}" y="{floor - 6:.1f}" text-anchor="middle">{_cents(bar.amount)}</text>'
    )
    return (
        f"{drawn}{amount_words if step > 40 else ''}"
        f'<text x="{middle:.1f}" y="{_TALL - _FLOOR + 18}" text-anchor="middle">{escape(name)}</text>'
    )


def _svg(height: float, title: str, drawn: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{drawn}</svg>"
    )


def _table(heading: str, report: SpendReport) -> str:
    names = "".join(f"<th>{name}</th>" for name in (escape(heading), "jobs", *_COLUMNS))
    rows = "\n".join(_line(row) for row in report.rows)
    whole = _line(report.in_all)
    return (
        f'<div class="wide"><table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        f"<tfoot>{whole}</tfoot>\n</table></div>"
    )


def _line(row: SpendRow) -> str:
    amounts = (row.amount, row.list_price, row.billed, row.credits, row.tax, row.waste)
    estimate = "" if row.estimate is None else _exact(row.estimate)
    error = "" if row.error is None else f"{row.error * 100:+.1f} %"
    cells = (str(row.jobs), *map(_exact, amounts), estimate, error)
    return f"<tr><td>{escape(row.key)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _unpriced(report: SpendReport) -> str:
    if not report.unpriced_runs:
        return ""
    return f"<p>{report.unpriced_runs} runs have no price: their cost is unknown, and not in these amounts.</p>\n"


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _cents(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _exact(amount: Decimal) -> str:
    """To the cent for the eye; every digit is behind it."""
    cents = _cents(amount)
    return cents if plain(amount) == cents else f'<span title="{plain(amount)}">{cents}</span>'
