"""`ftorch jobs` and its verbs; `logs` and `cancel` also stand alone."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from ftorch.cli.common import job_argument, json_option, make_client, money
from ftorch.cli.output import ago, print_json, say, state_words, table
from ftorch.core.clock import SystemClock
from ftorch.core.errors import UsageError


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
    """Show all of JOB: its runs, charges, evaluations and events."""
    from ftorch.cli.history import show_history

    with make_client() as client:
        history = client.history(job)
    print_json(history) if as_json else show_history(history)
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
    # Ten thousand lines are a hundred thousand objects, and none of them is garbage before the command ends.
    gc.disable()
    with make_client() as client:
        if as_json:
            print_json(client.jobs())
            return 0
        lines = client.job_lines()
    if not lines:
        say("no jobs yet")
        say("hint: run `ftorch init`, then `ftorch submit job.yaml`")
        return 0
    now = SystemClock().now()
    table(
        ("job", "name", "state", "progress", "provider", "spend", "created"),
        [
            (
                line.id,
                line.name,
                state_words(line.state, line.reason),
                line.progress or "-",
                line.provider,
                money(line.spend),
                ago(line.created_at, now),
            )
            for line in lines
        ],
    )
    return 0
