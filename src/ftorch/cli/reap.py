"""`ftorch reap`: what costs money and has no job, and rows that nobody needs any more, here or at providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import ago, print_json, say, table
from ftorch.core.clock import SystemClock

if TYPE_CHECKING:
    from ftorch.jobs.reap import Content, ReapReport, StrayView

_LEFT = 6


@click.command()
@click.argument("providers", metavar="[PROVIDER]...", nargs=-1)
@click.option("--yes", "-y", is_flag=True, help="End them: cancel, release, book, delete.")
@json_option
def reap(providers: tuple[str, ...], *, yes: bool, as_json: bool) -> int:
    """List runs that cost money and that no job answers for, and training rows that no job needs, here or at providers.

    Nothing is touched without --yes. Exit code 6: something is left, or a provider did not answer.
    """
    with make_client() as client:
        report = client.reap(providers, yes=yes)
    print_json(report) if as_json else _show(report, yes=yes)
    is_unseen = any(one.is_configured for one in report.skipped)
    return _LEFT if is_unseen or (yes and report.left) else 0


def _show(report: ReapReport, *, yes: bool) -> None:
    now = SystemClock().now()
    for skipped in report.skipped:
        say(f"{skipped.provider} was {'not reached' if skipped.is_configured else 'skipped'}: {skipped.why}")
    if report.strays:
        table(
            (
                "provider",
                "account",
                "key",
                "remote id",
                "place",
                "state",
                "since",
                "job",
                "why" if not yes else "reaped",
            ),
            [
                (
                    stray.provider,
                    stray.account,
                    stray.key,
                    stray.remote_id or "-",
                    stray.place or "-",
                    stray.state,
                    ago(stray.since, now),
                    stray.job or "-",
                    _outcome(stray) if yes else stray.why,
                )
                for stray in report.strays
            ],
        )
    else:
        say(f"no run of installation {report.installation} is without its job")
    for content in report.contents:
        say(f"{content.provider}: {content.name or content.id}, {content.size} bytes, {_fate(content)}")
    for folder in report.leftovers:
        say(f"{folder.path}: no job needs it{', deleted' if folder.is_gone else ''}")
    if not yes and (report.strays or report.contents or report.leftovers):
        say("hint: `ftorch reap --yes` ends and deletes them; `ftorch jobs adopt KEY MANIFEST` keeps a run")


def _fate(content: Content) -> str:
    if content.is_gone:
        return "no job needs it, deleted"
    return f"left: {content.left}" if content.left else "no job needs it"


def _outcome(stray: StrayView) -> str:
    if not stray.is_gone:
        return f"left: {stray.left}"
    spend = str(stray.spend) if stray.spend is not None else "nobody names a price"
    return f"gone, {spend}{'; ' + stray.left if stray.left else ''}"
