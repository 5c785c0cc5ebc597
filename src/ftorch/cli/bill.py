"""`ftorch bill`: pull, import, explain, assign, close."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import UsageError

if TYPE_CHECKING:
    from ftorch.jobs.billing.explain import LineView
    from ftorch.jobs.billing.pull import Pulled
    from ftorch.jobs.billing.status import BillStatus

_UNEXPLAINED, _NOT_READ = 11, 6


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def bill(context: click.Context, *, as_json: bool) -> int:
    """Bills: how far they are read, and where their lines went. Exit code 11 while one is unexplained."""
    if context.invoked_subcommand:
        return 0
    with make_client() as client:
        status = client.bill.status()
    print_json(status) if as_json else _show_status(status)
    return 0 if status.is_explained else _UNEXPLAINED


@bill.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER]...")
@click.option("--since", metavar="DATE", help="Read from further back than needed, such as 2026-08-01.")
@json_option
def pull(providers: tuple[str, ...], since: str | None, *, as_json: bool) -> int:
    """Read the bills of PROVIDERs, or of all that are configured. Exit code 11 while a line is unexplained."""
    from ftorch.jobs.billing.reports import first_moment

    with make_client() as client:
        found = client.bill.pull(providers, since=first_moment(since) if since else None)
        status = client.bill.status()
    if as_json:
        print_json(found)
    else:
        _show_pulled(found)
        _show_unexplained(status)
    if any(one.outcome.value == "failed" for one in found):
        return _NOT_READ
    return 0 if status.is_explained else _UNEXPLAINED


@bill.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--provider", required=True, help="Whose invoice it is.")
@click.option("--mapping", type=click.Path(path_type=Path, dir_okay=False), help="TOML that names the file's columns.")
@click.option("--account", help="The account that is billed, where several are in use.")
@json_option
def import_invoice(file: Path, *, provider: str, mapping: Path | None, account: str | None, as_json: bool) -> int:
    """Bring the CSV invoice FILE into the ledger; the same content again does nothing."""
    with make_client() as client:
        done = client.bill.import_invoice(file, provider, mapping=mapping, account=account)
        status = client.bill.status()
    if as_json:
        print_json(done)
    elif not done.is_new:
        say(f"{done.file} was imported before; nothing to do")
    else:
        places = (("run", done.run), ("assigned", done.assigned), ("outside", done.outside))
        say(
            f"{done.lines} lines of {done.file}, {done.amount}: {_places((*places, ('unexplained', done.unexplained)))}"
        )
        _show_unexplained(status)
    return 0 if status.is_explained else _UNEXPLAINED


@bill.command()
@click.argument("line", metavar="ID")
@json_option
def explain(line: str, *, as_json: bool) -> int:
    """Show where the line ID went and why: ID is an entry's number in `ftorch ledger`, or the provider's reference."""
    with make_client() as client:
        view = client.bill.explain(line)
    print_json(view) if as_json else _show_line(view)
    return 0


@bill.command()
@click.argument("line", metavar="ID")
@click.option("--job", metavar="JOB", help="It belongs to this job.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="It is ours, under this label.")
@click.option("--outside", is_flag=True, help="It is not ours.")
@click.option("--note", required=True, help="How you know; kept with the line.")
@json_option
def assign(line: str, *, job: str | None, labels: tuple[str, ...], outside: bool, note: str, as_json: bool) -> int:
    """Settle the line ID by your word; it is kept for ever. With a run's key, its bill is accepted as it is."""
    with make_client() as client:
        view = client.bill.assign(line, note=note, job=job, labels=_pairs(labels), outside=outside)
    if view is None:
        say(f"the bill of run {line} is accepted")
    elif as_json:
        print_json(view)
    else:
        _show_line(view)
    return 0


@bill.command()
@click.argument("month", metavar="YYYY-MM")
@click.option("--force", is_flag=True, help="Close although something is missing; needs a note.")
@click.option("--note", help="Why; kept with the month.")
@json_option
def close(month: str, *, force: bool, note: str | None, as_json: bool) -> int:
    """Freeze the month and all before it: what comes later counts in the month in which it comes."""
    with make_client() as client:
        done = client.bill.close(month, force=force, note=note)
    if as_json:
        print_json(done)
    elif not done.is_new:
        say(f"{month} was closed with {done.month} on {done.closed_at:%Y-%m-%d}")
    else:
        for one in done.missing:
            say(f"closed although {one.words}")
        say(f"{done.month} is closed; what comes later counts later")
    return 0


def _pairs(labels: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for label in labels:
        key, sign, value = label.partition("=")
        if not (key and sign and value):
            raise UsageError(f"{label!r} is not a label", hint="write it as team=support")
        pairs[key] = value
    return pairs


def _show_status(status: BillStatus) -> None:
    if not status.bills:
        say("no bill was read yet")
        say("hint: run `ftorch bill pull`, or `ftorch bill import FILE --provider P`")
        return
    table(
        ("provider", "account", "data through", "run", "outside", "unexplained", "credits", "tax", "last read"),
        [
            (
                one.provider,
                one.account,
                f"{one.data_through:%Y-%m-%d %H:%M}",
                f"{one.run + one.assigned} ({one.lines_run + one.lines_assigned})",
                f"{one.outside} ({one.lines_outside})",
                f"{one.unexplained} ({one.lines_unexplained})",
                one.credits,
                one.tax,
                f"{one.pulled_at:%Y-%m-%d %H:%M}",
            )
            for one in status.bills
        ],
        right=(3, 4, 5, 6, 7),
    )
    _show_unexplained(status)


def _show_unexplained(status: BillStatus) -> None:
    for line in status.unexplained:
        say(f"unexplained: line {line.id} of {line.provider}, {line.amount}: {line.description}")
    for run in status.differing:
        figure = f"its {run.source.replace('_', ' ')} says {run.charged}"
        say(f"differs: run {run.run} of {run.provider} was billed {run.billed}, {figure}")
    if not status.is_explained:
        say("hint: `ftorch bill explain ID` shows a line, `ftorch bill assign ID` settles it by your word")


def _show_pulled(found: Sequence[Pulled]) -> None:
    for one in found:
        if one.outcome.value != "pulled":
            say(f"{one.provider}: {one.words}")
            continue
        places = (("run", one.run), ("assigned", one.assigned), ("outside", one.outside))
        lines = one.run + one.assigned + one.outside + one.unexplained
        through = f", settled until {one.data_through:%Y-%m-%d %H:%M} UTC" if one.data_through else ""
        words = _places((*places, ("unexplained", one.unexplained)))
        click.echo(f"{one.provider} ({one.account}): {lines} lines since {one.start:%Y-%m-%d}{words}{through}")


def _places(counts: Iterable[tuple[str, int]]) -> str:
    words = ", ".join(f"{count} {place}" for place, count in counts if count)
    return f" ({words})" if words else ""


def _show_line(view: LineView) -> None:
    rows = [
        ("line", f"{view.source_ref} of {view.provider} ({view.account})"),
        ("what", f"{view.kind}: {view.description}"),
        ("amount", f"{view.amount} ({view.source.replace('_', ' ')})"),
        ("period", f"{view.period_start:%Y-%m-%d %H:%M} to {view.period_end:%Y-%m-%d %H:%M} UTC"),
        ("place", f"{view.place}: {view.why}"),
    ]
    if view.run:
        rows.append(("run", f"{view.run.key} of job {view.run.job or '-'} ({view.run.name or '-'})"))
        rows.append(("its sums", f"billed {view.run.billed}, charged before {view.run.charged}"))
    rows += [(f"said {word.at:%Y-%m-%d}", f"{word.place}: {word.note}") for word in view.words]
    table(("what", "value"), rows)
    click.echo()
    table(
        ("entry", "recorded", "amount", "place", "counts in", "description"),
        [
            (
                one.id,
                f"{one.recorded_at:%Y-%m-%d %H:%M}",
                one.amount,
                one.place,
                f"{one.counted_at:%Y-%m}" + (f", corrects {one.corrects}" if one.corrects else ""),
                one.description,
            )
            for one in view.revisions
        ],
        right=(0, 2),
    )
