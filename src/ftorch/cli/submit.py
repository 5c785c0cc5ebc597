"""`ftorch submit` and `ftorch wait`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftorch.cli.common import Watcher, finish, job_argument, json_option, make_client, manifest_argument, yes_option
from ftorch.cli.manifest import show_changes, show_estimate
from ftorch.cli.output import print_json, say
from ftorch.client import Client
from ftorch.core.errors import UsageError

if TYPE_CHECKING:
    from ftorch.jobs.preview import PlanView

_NOBODY_ELSE_IS_PAID = ("declared", "none")


@click.command()
@manifest_argument
@click.option("--wait", "waits", is_flag=True, help="Stay until the job has ended.")
@click.option("--again", is_flag=True, help="Start a new job although this plan has one already.")
@yes_option
@json_option
def submit(manifest: Path, *, waits: bool, again: bool, yes: bool, as_json: bool) -> int:
    """Submit MANIFEST: check the data, print the estimate, start the job.

    The same plan again prints the job that it already has and sends nothing.
    """
    with make_client() as client:
        view = client.plan(manifest)
        if view.standing_job and not again:
            return _standing(client, view.standing_job, waits=waits, as_json=as_json)
        show_changes(view)
        show_estimate(view)
        _confirm(view, yes=yes)
        try:
            submitted = client.submit(view, again=again)
        except KeyboardInterrupt:
            say("\nit may have been submitted; `ftorch jobs` tells, and the same command again sends nothing twice")
            raise
        if not submitted.is_new:
            return _standing(client, submitted.job.id, waits=waits, as_json=as_json)
        say(f"job {submitted.job.id} is submitted")
        if waits:
            return _wait(client, submitted.job.id, None, as_json=as_json)
        for line in _what_goes_on(view):
            say(line)
        say(f"hint: `ftorch wait {submitted.job.id}` shows its progress; `ftorch cancel {submitted.job.id}` stops it")
        print_json(submitted.job) if as_json else click.echo(submitted.job.id)
    return 0


@click.command()
@job_argument
@click.option("--timeout", metavar="TIME", help="Give up waiting after, for example, 90s, 30m or 4h; the job goes on.")
@json_option
def wait(job: str, *, timeout: str | None, as_json: bool) -> int:
    """Wait until JOB has ended, showing its progress. Ctrl-C leaves the job running."""
    with make_client() as client:
        return _wait(client, client.job(job).id, timeout, as_json=as_json)


def _wait(client: Client, job_id: str, timeout: str | None, *, as_json: bool) -> int:
    try:
        view = client.wait(job_id, timeout=timeout, on_change=Watcher())
    except KeyboardInterrupt:
        say(f"\nthe job goes on; `ftorch wait {job_id}` comes back to it, `ftorch cancel {job_id}` stops it")
        raise
    return finish(view, as_json=as_json)


def _standing(client: Client, job_id: str, *, waits: bool, as_json: bool) -> int:
    """The plan has a job already: nothing is sent."""
    job = client.job(job_id)
    say(f"this plan already has job {job.id}, which is {job.state}; nothing was sent")
    if job.ended_at is None:
        client.ensure_daemon()
        if waits:
            return _wait(client, job_id, None, as_json=as_json)
    else:
        say("hint: `ftorch submit MANIFEST --again` starts a new one")
    print_json(job) if as_json else click.echo(job.id)
    return 0


def _what_goes_on(view: PlanView) -> tuple[str, ...]:
    """What happens without this machine, and what waits for its daemon."""
    if view.provider == "local":
        return ("the daemon started here carries it on, also when this terminal closes",)
    return (
        f"once {view.provider} has it, the training goes on by itself, also with the lid closed",
        "submitting, fetching the adapter and the bill need the daemon started here; where the machine sleeps or "
        "restarts, `ftorch wait` starts it again",
    )


def _confirm(view: PlanView, *, yes: bool) -> None:
    """Ask before somebody else is paid."""
    if yes or view.price_source in _NOBODY_ELSE_IS_PAID:
        return
    if not sys.stdin.isatty():
        raise UsageError("this spends money and nobody is here to ask", hint="add --yes")
    click.confirm(f"submit to {view.provider} for about {view.estimate.amount}?", abort=True, err=True)
