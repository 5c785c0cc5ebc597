"""`ftorch lifetime`: does the fine-tune pay?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import UsageError
from ftorch.core.files import write_text
from ftorch.core.money import Money
from ftorch.core.quality import QualityState
from ftorch.costs.chance import Chance, Swing
from ftorch.costs.lifetime import LifetimeReport, PayVerdict, Side
from ftorch.costs.plot import plot as plot_of

_EXIT = {PayVerdict.PAYS: 0, PayVerdict.DOES_NOT_PAY: 12, PayVerdict.UNKNOWN: 13}


@click.command()
@click.argument("subject", metavar="MANIFEST|JOB")
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="The day on which it begins; today when not given.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the two lines as a picture.")
@click.option(
    "--tornado", type=click.Path(path_type=Path), help="Write which input moves the saving most, as a picture."
)
@click.option("--plot/--no-plot", default=True, help="The same as a plot of characters.")
@json_option
def lifetime(
    subject: str, *, start: datetime | None, svg: Path | None, tornado: Path | None, plot: bool, as_json: bool
) -> int:
    """Compare hosted and fine-tuned over their lifetime, from real spend.

    Exit code 12 when it does not pay, 13 when something was not measured.
    """
    with make_client() as client:
        report = client.lifetime(subject, start=start.date() if start else None)
    for path, draw in ((svg, _lines_of), (tornado, _tornado_of)):
        if path is not None:
            _write_picture(report, path, draw)
    if as_json:
        print_json(report)
    else:
        _show(report, with_plot=plot)
        _say_next(report, subject)
    return _EXIT[report.verdict]


def _write_picture(report: LifetimeReport, path: Path, draw: Callable[[LifetimeReport], str]) -> None:
    if report.train_cost is None or not report.course:
        raise UsageError("the train cost is not known, so there is nothing to draw", hint="submit the manifest first")
    write_text(path, draw(report))
    say(f"wrote {path}")


def _lines_of(report: LifetimeReport) -> str:
    from ftorch.costs.svg import svg

    return svg(report)


def _tornado_of(report: LifetimeReport) -> str:
    from ftorch.costs.tornado import svg

    return svg(report)


def _show(report: LifetimeReport, *, with_plot: bool) -> None:
    horizon = f"{report.calls_per_period:,} calls a {report.period}, {report.periods} {report.period}s"
    table(
        ("", horizon),
        [
            ("hosted lifetime", report.hosted_lifetime.cents),
            ("fine-tuned lifetime", report.fine_tune_lifetime.cents if report.fine_tune_lifetime else "unknown"),
            ("saving", _saving(report)),
            ("crossover", _crossover(report)),
            *_further(report),
        ],
    )
    click.echo()
    table(("price", "amount", "per", "source"), _prices(report), right=(1,))
    if report.chance:
        _show_chance(report, report.chance)
    if with_plot and (drawn := plot_of(report)):
        click.echo(f"\n{drawn}")
    for warning in report.warnings:
        say(warning)
    click.echo(f"\nrule: {report.rule}")
    click.echo(f"verdict: {report.verdict.value.replace('_', ' ')}: {report.reason}")


def _further(report: LifetimeReport) -> list[tuple[str, object]]:
    """What belongs to the course of the two lives, where it is more than calls times price."""
    rows: list[tuple[str, object]] = []
    if report.growth:
        rows.append(("growth of the volume", f"{100 * report.growth:.3g} % each {report.period}"))
    if report.shutdown:
        horizon = report.horizon_periods.quantize(Decimal("0.01"))
        rows.append(("hosted model ends", f"{report.shutdown}: {horizon.normalize():f} {report.period}s count"))
    if report.retrain_every and report.retrains is not None:
        every = report.retrain_every.quantize(Decimal("0.01")).normalize()
        rows.append(("training again", f"{report.retrains.cents}, every {every:f} {report.period}s"))
    if report.storage.amount:
        rows.append(("storage", report.storage.cents))
    return rows


def _show_chance(report: LifetimeReport, drawn: Chance) -> None:
    click.echo(
        f"\nsaving: positive with a probability of {drawn.p_saving:.3f}; 90 %: {drawn.saving_low} to "
        f"{drawn.saving_high} ({drawn.draws:,} draws, seed {drawn.seed})"
    )
    if report.tornado:
        rows = [
            (swing.input.replace("_", " "), _from_to(swing), swing.saving_at_low, swing.saving_at_high)
            for swing in report.tornado
        ]
        table(("what moves it", "from, to", "saving", "saving"), rows, right=(2, 3))


def _from_to(swing: Swing) -> str:
    """Prices as a factor of what was given, everything else as it is."""
    if swing.input in ("hosted", "serving"):
        return f"x {swing.low:.3g} to x {swing.high:.3g}"
    low, high = (f"{end:,.0f}" if abs(end) >= 100 else f"{end:.3g}" for end in (swing.low, swing.high))
    return f"{low} to {high}"


def _saving(report: LifetimeReport) -> str:
    if report.saving is None:
        return "unknown"
    percent = f" ({report.saving_percent} %)" if report.saving_percent is not None else ""
    return f"{report.saving.cents}{percent}"


def _crossover(report: LifetimeReport) -> str:
    found = report.crossover
    if found is None:
        return "never" if report.train_cost else "unknown"
    months = found.months.quantize(Decimal("0.01"))
    on = f", on {found.on:%Y-%m-%d}" if found.on else ""
    return f"after {months} months, {found.calls.quantize(Decimal(1)):,} calls{on}{_between(report)}"


def _between(report: LifetimeReport) -> str:
    drawn = report.chance
    if drawn is None or drawn.crossover_low is None or drawn.crossover_low == drawn.crossover_high:
        return ""
    high = f"{drawn.crossover_high} {report.period}s" if drawn.crossover_high is not None else "never"
    return f" (90 %: {drawn.crossover_low} to {high})"


def _prices(report: LifetimeReport) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (line.what, line.amount, line.unit, line.source) for line in (*report.hosted.prices, *report.tuned.prices)
    ]
    rows += [row for name, one in (("hosted", report.hosted), ("tuned", report.tuned)) for row in _derived(name, one)]
    if cost := report.train_cost:
        rows.append(("training", cost.amount, "once", f"{'assumed' if cost.is_assumed else 'spend'}: {cost.source}"))
    else:
        rows.append(("training", "unknown", "once", "no run of this job has a price"))
    return rows


def _derived(name: str, one: Side) -> list[tuple[object, ...]]:
    """What the prices come to, where that is not what they say already."""
    if one.replicas is not None:
        return [(f"{name}, {one.replicas} GPU always on", one.fixed_per_period, "period", "computed")]
    stated: list[Money] = [line.amount for line in one.prices]
    return [] if one.per_call in stated else [(f"{name}, a call", one.per_call, "call", "computed")]


def _say_next(report: LifetimeReport, subject: str) -> None:
    if report.train_cost is None:
        say("hint: train it with `ftorch submit MANIFEST --wait`, or assume: train_cost: {assumed: ..., source: ...}")
    elif report.verdict is PayVerdict.UNKNOWN and report.quality.state is QualityState.NOT_MEASURED:
        say(f"hint: `ftorch eval {subject} --against URL --model NAME` lets the hosted model answer the held-out rows")
    elif report.verdict is PayVerdict.UNKNOWN:
        say("hint: hold out more rows, submit again, and run `ftorch eval` against the hosted model")
