"""`ftorch spend` and `ftorch ledger`."""

from __future__ import annotations

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.cli.shapes import ledger_answer, spend_answer
from ftorch.core.errors import UsageError
from ftorch.core.money import Money
from ftorch.costs.report import SpendReport

_GROUPS = ("job", "name", "provider", "model", "method", "month")


@click.command()
@click.option("--by", default="name", show_default=True, help=f"{', '.join(_GROUPS)}, or a label's key.")
@click.option("--job", metavar="JOB", help="Only this job.")
@click.option("--month", metavar="YYYY-MM", help="Only charges whose period begins in this month, UTC.")
@json_option
def spend(*, by: str, job: str | None, month: str | None, as_json: bool) -> int:
    """What was spent, from the ledger. Estimates are not in it."""
    with make_client() as client:
        report = client.spend(by=_grouping(by), job=job, month=month)
    print_json(spend_answer(report)) if as_json else _show(report)
    return 0


@click.command()
@json_option
def ledger(*, as_json: bool) -> int:
    """List the ledger's entries, oldest first."""
    with make_client() as client:
        entries = client.ledger()
    if as_json:
        print_json([ledger_answer(entry) for entry in entries])
        return 0
    table(
        ("id", "recorded", "provider", "amount", "source", "kind", "description"),
        [
            (
                entry.id,
                f"{entry.recorded_at:%Y-%m-%d %H:%M}",
                entry.provider,
                Money.from_micro(entry.amount_micro),
                entry.source,
                entry.kind,
                entry.description,
            )
            for entry in entries
        ],
        right=(3,),
    )
    return 0


def _grouping(by: str) -> str:
    if by in _GROUPS or by.startswith("label:"):
        return by
    if not by:
        raise UsageError("--by needs a word", hint=f"use {', '.join(_GROUPS)}, or a label's key")
    return f"label:{by}"


def _show(report: SpendReport) -> None:
    table(
        (report.by.removeprefix("label:"), "jobs", "entries", "spend", "source", "status"),
        [(row.key, row.jobs, row.entries, Money(row.amount), row.source, row.status) for row in report.rows],
        right=(1, 2, 3),
    )
    click.echo(f"total spend: {Money(report.total)}")
    if report.unpriced_runs:
        say(f"{report.unpriced_runs} runs have no price: their cost is unknown, and not in the total")
