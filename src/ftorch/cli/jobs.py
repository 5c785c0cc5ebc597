"""`ftorch jobs` and its verbs; `logs` and `cancel` also stand alone."""

from __future__ import annotations

from pathlib import Path

import click

from ftorch.cli.common import job_argument, json_option, make_client, money
from ftorch.cli.output import ago, duration, print_json, say, table
from ftorch.core.clock import SystemClock
from ftorch.core.errors import UsageError
from ftorch.jobs.views import JobView


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def jobs(context: click.Context, *, as_json: bool) -> int:
    """List jobs, newest first."""
    return 0 if context.invoked_subcommand else _list(as_json=as_json)


@jobs.command("list")
@json_option
def list_jobs(*, as_json: bool) -> int:
    """List jobs, newest first."""
    return _list(as_json=as_json)


@jobs.command()
@job_argument
@json_option
def show(job: str, *, as_json: bool) -> int:
    """Show JOB with its runs and its history."""
    with make_client() as client:
        view, events = client.job(job), client.events(job)
    if as_json:
        print_json(view)
        return 0
    _show(view)
    for event in events:
        click.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.event}{': ' + event.detail if event.detail else ''}")
    return 0


@jobs.command()
@job_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
def logs(job: str, *, follow: bool) -> int:
    """Print the log of JOB's newest run."""
    with make_client() as client:
        for line in client.logs(job, follow=follow):
            click.echo(line)
    return 0


@jobs.command()
@job_argument
@json_option
def cancel(job: str, *, as_json: bool) -> int:
    """Stop JOB. Returns at once; `ftorch wait JOB` tells when it is proven."""
    with make_client() as client:
        view = client.cancel(job)
    if as_json:
        print_json(view)
    elif view.ended_at is not None:
        say(f"job {view.id} has ended already: {view.state}")
    else:
        say(f"job {view.id} will be stopped; `ftorch wait {view.id}` tells when nothing of it is left")
    return 0


@jobs.command()
@job_argument
@json_option
def retry(job: str, *, as_json: bool) -> int:
    """Reopen JOB after a bad end: one more run, going on from its last checkpoint."""
    with make_client() as client:
        view = client.retry(job)
    print_json(view) if as_json else say(f"job {view.id} goes on; `ftorch wait {view.id}` shows its progress")
    return 0


@jobs.command()
@click.argument("key", required=False)
@click.argument("manifest", required=False, type=click.Path(path_type=Path))
@click.option("--installation", metavar="ID", help="Without KEY: list the runs with this mark, not with ours.")
@json_option
def adopt(key: str | None, manifest: Path | None, *, installation: str | None, as_json: bool) -> int:
    """Make a job of the run KEY after its database was lost; MANIFEST is what it was submitted with.

    Without KEY: list the runs that no job here knows.
    """
    if key is None:
        return _adoptable(installation, as_json=as_json)
    if manifest is None:
        raise UsageError("adopting a run needs its manifest", hint=f"run `ftorch jobs adopt {key} MANIFEST`")
    with make_client() as client:
        view = client.adopt(key, manifest)
    print_json(view) if as_json else say(f"run {key} is job {view.id} now; `ftorch wait {view.id}` shows its progress")
    return 0


@jobs.command()
@click.argument("left", metavar="JOB")
@click.argument("right", metavar="JOB")
@json_option
def diff(left: str, right: str, *, as_json: bool) -> int:
    """Show in which keys the plans of two jobs differ."""
    with make_client() as client:
        changes = client.diff(left, right)
    if as_json:
        print_json([{"key": key, "then": then, "now": now} for key, then, now in changes])
    else:
        table(("key", left, right), changes)
    return 0


def _adoptable(installation: str | None, *, as_json: bool) -> int:
    with make_client() as client:
        found = client.adoptable(installation)
    if as_json:
        print_json(found)
    elif found:
        table(
            ("key", "provider", "account", "state", "remote id"),
            [(one.key, one.provider, one.account, one.state, one.remote_id or "-") for one in found],
        )
    else:
        say("every run that carries this mark has its job here")
    return 0


def _list(*, as_json: bool) -> int:
    with make_client() as client:
        views = client.jobs()
    if as_json:
        print_json(views)
        return 0
    if not views:
        say("no jobs yet")
        say("hint: run `ftorch init`, then `ftorch submit job.yaml`")
        return 0
    now = SystemClock().now()
    table(
        ("job", "name", "state", "progress", "provider", "spend", "created"),
        [
            (
                view.id,
                view.name,
                _state(view),
                _progress(view),
                view.provider,
                money(view.spend),
                ago(view.created_at, now),
            )
            for view in views
        ],
    )
    return 0


def _state(view: JobView) -> str:
    return f"{view.state} ({view.reason})" if view.reason and view.reason != "completed" else view.state


def _progress(view: JobView) -> str:
    run = view.runs[-1] if view.runs else None
    return f"{run.step}/{run.total_steps}" if run and run.total_steps else "-"


def _show(view: JobView) -> None:
    table(
        ("what", "value"),
        [
            ("job", view.id),
            ("name", view.name),
            ("state", _state(view)),
            ("base model", view.base_model),
            ("adapter", view.adapter or "-"),
            ("spend", money(view.spend)),
        ],
    )
    click.echo()
    table(
        ("run", "state", "steps", "paid time", "tokens", "spend"),
        [
            (
                run.key,
                run.state or "not sent",
                f"{run.step}/{run.total_steps}" if run.total_steps else "-",
                duration(int(run.paid_seconds)) if run.paid_seconds is not None else "-",
                run.trained_tokens if run.trained_tokens is not None else "-",
                money(run.spend),
            )
            for run in view.runs
        ],
    )
    click.echo()
