"""`ftorch lifetime`: does the fine-tune pay?"""

from __future__ import annotations

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
from ftorch.costs.lifetime import LifetimeReport, PayVerdict, Side
from ftorch.costs.plot import plot as plot_of

_EXIT = {PayVerdict.PAYS: 0, PayVerdict.DOES_NOT_PAY: 12, PayVerdict.UNKNOWN: 13}


@click.command()
@click.argument("subject", metavar="MANIFEST|JOB")
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="The day on which it begins; today when not given.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the two lines as a picture.")
@click.option("--plot/--no-plot", default=True, help="The same as a plot of characters.")
@json_option
def lifetime(subject: str, *, start: datetime | None, svg: Path | None, plot: bool, as_json: bool) -> int:
    """Compare hosted and fine-tuned over their lifetime, from real spend.

    Exit code 12 when it does not pay, 13 when something was not measured.
    """
    with make_client() as client:
        report = client.lifetime(subject, start=start.date() if start else None)
    if svg:
        _write_picture(report, svg)
    if as_json:
        print_json(report)
    else:
        _show(report, with_plot=plot)
        _say_next(report, subject)
    return _EXIT[report.verdict]


def _write_picture(report: LifetimeReport, path: Path) -> None:
    from ftorch.costs.svg import svg

    if report.train is None:
        raise UsageError("the train cost is not known, so there is nothing to draw", hint="submit the manifest first")
    write_text(path, svg(report))
    say(f"wrote {path}")


def _show(report: LifetimeReport, *, with_plot: bool) -> None:
    horizon = f"{report.calls_per_period:,} calls a {report.period}, {report.periods} {report.period}s"
    table(
        ("", horizon),
        [
            ("hosted lifetime", report.hosted_lifetime),
            ("fine-tuned lifetime", report.fine_tune_lifetime or "unknown"),
            ("saving", _saving(report)),
            ("crossover", _crossover(report)),
        ],
    )
    click.echo()
    table(("price", "amount", "per", "source"), _prices(report), right=(1,))
    if with_plot and (drawn := plot_of(report)):
        click.echo(f"\n{drawn}")
    click.echo(f"\nrule: {report.rule}")
    click.echo(f"verdict: {report.verdict.value.replace('_', ' ')}: {report.reason}")


def _saving(report: LifetimeReport) -> str:
    if report.saving is None:
        return "unknown"
    return f"{report.saving} ({report.saving_percent} %)" if report.saving_percent is not None else str(report.saving)


def _crossover(report: LifetimeReport) -> str:
    found = report.crossover
    if found is None:
        return "never" if report.train else "unknown"
    months = found.months.quantize(Decimal("0.01"))
    on = f", on {found.on:%Y-%m-%d}" if found.on else ""
    return f"after {months} months, {found.calls.quantize(Decimal(1)):,} calls{on}"


def _prices(report: LifetimeReport) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (line.what, line.amount, line.unit, line.source) for line in (*report.hosted.prices, *report.tuned.prices)
    ]
    rows += [row for name, one in (("hosted", report.hosted), ("tuned", report.tuned)) for row in _derived(name, one)]
    if report.train:
        kind = "assumed" if report.train.is_assumed else "spend"
        rows.append(("training", report.train.amount, "once", f"{kind}: {report.train.source}"))
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
    if report.train is None:
        say("hint: train it with `ftorch submit MANIFEST --wait`, or assume: train_cost: {assumed: ..., source: ...}")
    elif report.verdict is PayVerdict.UNKNOWN and report.quality.state is QualityState.NOT_MEASURED:
        say(f"hint: `ftorch eval {subject} --against URL --model NAME` lets the hosted model answer the held-out rows")
    elif report.verdict is PayVerdict.UNKNOWN:
        say("hint: hold out more rows, submit again, and run `ftorch eval` against the hosted model")
