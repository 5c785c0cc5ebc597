"""`ftorch spend` and `ftorch ledger`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import UsageError
from ftorch.core.money import Money, exact
from ftorch.costs.report import GROUPS, SpendReport, SpendRow

if TYPE_CHECKING:
    from ftorch.client import Client
    from ftorch.costs.compare import Comparison

_FORMATS = ("table", "json", "csv", "html", "focus")
_NUMBERS = ("list_price", "provisional", "billed", "amount", "credits", "tax", "waste", "estimate", "error")


@click.command()
@click.option("--by", default="name", show_default=True, help=f"{', '.join(GROUPS)}, or a label's key.")
@click.option("--job", metavar="JOB", help="Only this job.")
@click.option("--month", metavar="YYYY-MM", help="Only what counts in this month of the time zone.")
@click.option(
    "--as-of", metavar="DATE", help="As known at the end of that day, or at a moment: repeats an earlier report."
)
@click.option("--compare", "against", metavar="YYYY-MM", help="Why --month cost more or less than this one.")
@click.option("--timezone", default="UTC", show_default=True, help="Whose months, such as Europe/Paris.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option("--focus-version", type=click.Choice(["1.0", "1.2"]), default="1.2", show_default=True)
@click.option("--validator-columns", is_flag=True, help="With focus: also what the public validator 1.0.0 asks for.")
@json_option
def spend(
    *,
    by: str,
    job: str | None,
    month: str | None,
    as_of: str | None,
    against: str | None,
    timezone: str,
    form: str,
    focus_version: str,
    validator_columns: bool,
    as_json: bool,
) -> int:
    """What was spent, from the ledger. Estimates are not in it."""
    form = "json" if as_json else form
    grouping = _grouping(by)
    with make_client() as client:
        if form == "focus":
            _print_focus(client, focus_version, month, as_of, for_validator=validator_columns)
        elif against:
            _print_comparison(client, month, against, as_of, timezone, form)
        else:
            report = client.spend(by=grouping, job=job, month=month, as_of=as_of, timezone=timezone)
            _SHOW[form](client, report)
    return 0


@click.command()
@json_option
def ledger(*, as_json: bool) -> int:
    """List the ledger's entries, oldest first."""
    from ftorch.cli.shapes import ledger_answer

    with make_client() as client:
        entries = client.ledger()
    if as_json:
        print_json([ledger_answer(entry) for entry in entries])
        return 0
    table(
        ("id", "recorded", "provider", "amount", "source", "kind", "place", "description"),
        [
            (
                entry.id,
                f"{entry.recorded_at:%Y-%m-%d %H:%M}",
                entry.provider,
                Money.from_micro(entry.amount_micro),
                entry.source,
                entry.kind,
                entry.place,
                entry.description,
            )
            for entry in entries
        ],
        right=(3,),
    )
    return 0


def _grouping(by: str) -> str:
    if by in GROUPS or by.startswith("label:"):
        return by
    if not by:
        raise UsageError("--by needs a word", hint=f"use {', '.join(GROUPS)}, or a label's key")
    return f"label:{by}"


def _print_focus(client: Client, version: str, month: str | None, as_of: str | None, *, for_validator: bool) -> None:
    from ftorch.costs.focus import write_csv

    rows = client.focus(version=version, month=month, as_of=as_of, for_validator=for_validator)
    write_csv(sys.stdout, version, rows, for_validator=for_validator)


def _print_comparison(
    client: Client, month: str | None, against: str, as_of: str | None, timezone: str, form: str
) -> None:
    if month is None:
        raise UsageError("--compare needs the month to be explained", hint=f"add --month, such as --month {against}")
    if form not in ("table", "json"):
        raise UsageError(f"--compare has no {form}", hint="use --format table or json")
    found = client.compare_spend(month, against, as_of=as_of, timezone=timezone)
    print_json(found) if form == "json" else _show_comparison(found)


def _print_json(_client: Client, report: SpendReport) -> None:
    from ftorch.cli.shapes import spend_answer

    print_json(spend_answer(report))


def _print_table(_client: Client, report: SpendReport) -> None:
    has_estimates = any(row.estimate is not None for row in report.rows)
    estimates = ("estimate", "error") if has_estimates else ()
    heading = report.by.removeprefix("label:")
    table(
        (
            heading,
            "jobs",
            "entries",
            "spend",
            "list",
            "billed",
            "credits",
            "tax",
            "waste",
            *estimates,
            "source",
            "status",
        ),
        [_cells(row, with_estimate=has_estimates) for row in report.rows],
        right=tuple(range(1, 9 + len(estimates))),
    )
    whole = report.in_all
    click.echo(f"total spend: {Money(report.total)}")
    beside = (("credits", whole.credits), ("tax", whole.tax), ("waste", whole.waste))
    for name, amount in beside:
        if amount:
            click.echo(f"{name}: {Money(amount)}")
    if report.unpriced_runs:
        say(f"{report.unpriced_runs} runs have no price: their cost is unknown, and not in the total")


def _cells(row: SpendRow, *, with_estimate: bool) -> tuple[object, ...]:
    estimate = (Money(row.estimate) if row.estimate is not None else "-", _percent(row.error)) if with_estimate else ()
    amounts = (row.amount, row.list_price, row.billed, row.credits, row.tax, row.waste)
    return (row.key, row.jobs, row.entries, *map(Money, amounts), *estimate, row.source, row.status)


def _percent(error: Decimal | None) -> str:
    return "-" if error is None else f"{error * 100:+.1f} %"


def _print_csv(_client: Client, report: SpendReport) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((report.by.removeprefix("label:"), "jobs", "entries", *_NUMBERS, "currency", "source", "status"))
    for row in report.rows:
        numbers = [getattr(row, name) for name in _NUMBERS]
        cells = ["" if number is None else exact(number) for number in numbers]
        writer.writerow((row.key, row.jobs, row.entries, *cells, row.currency, row.source, row.status))


def _print_html(client: Client, report: SpendReport) -> None:
    from ftorch.costs.spend_page import spend_page

    months = client.spend(by="month", as_of=report.as_of.isoformat(), timezone=report.timezone)
    click.echo(spend_page(report, months), nl=False)


def _show_comparison(found: Comparison) -> None:
    table(
        ("name", "provider", found.against, found.month, "volume", "price", "waste", "new jobs", "by"),
        [
            (one.name, one.provider, one.before, one.after, one.volume, one.price, one.waste, one.new_jobs, one.unit)
            for one in found.changes
        ],
        right=(2, 3, 4, 5, 6, 7),
    )
    parts = f"volume {found.volume}, price {found.price}, waste {found.waste}, new jobs {found.new_jobs}"
    click.echo(f"{found.against}: {found.before}; {found.month}: {found.after}; difference {found.difference}")
    click.echo(f"of which {parts}")


_SHOW: Mapping[str, Callable[[Client, SpendReport], None]] = {
    "table": _print_table,
    "json": _print_json,
    "csv": _print_csv,
    "html": _print_html,
}
