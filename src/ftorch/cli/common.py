"""What several commands share: options, the client, how a job's end becomes an exit code, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ftorch.cli.output import duration, print_json, say
from ftorch.client import Client
from ftorch.jobs.views import EventView, JobView, Spend

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask before money is spent.")

_EXIT = {"succeeded": 0, "failed": 7, "lost": 7, "cancelled": 8}


def make_client() -> Client:
    """A client on this process's environment and folder, with progress on a terminal."""
    return Client(progress=_progress if sys.stderr.isatty() else None)


def manifest_argument(command: click.decorators.FC) -> click.decorators.FC:
    return click.argument("manifest", type=click.Path(path_type=Path))(command)


def job_argument(command: click.decorators.FC) -> click.decorators.FC:
    return click.argument("job", metavar="JOB", shell_complete=complete_job)(command)


def complete_job(_context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """Job names and ids for the shell."""
    with Client() as client:
        names = {job.name for job in client.jobs()} | {job.id for job in client.jobs()}
    return sorted(name for name in names if name.startswith(start))


def finish(view: JobView, *, as_json: bool) -> int:
    """Say how the job ended; returns the exit code."""
    if as_json:
        print_json(view)
    elif view.state == "succeeded":
        say(f"job {view.id} ({view.name}) succeeded; spend {money(view.spend)}")
        click.echo(view.adapter)
    else:
        say(f"job {view.id} ({view.name}) {view.state}: {view.reason or ''}".rstrip(": "))
        if view.detail:
            say(view.detail)
        say(f"hint: `ftorch logs {view.id}` shows what the run printed; `ftorch jobs retry {view.id}` tries once more")
    return _EXIT.get(view.state, 9)


def money(spend: Spend) -> str:
    """An amount with its source, or that nobody has named one."""
    amount = spend.money
    if amount is None:
        return "unknown"
    return f"{amount} ({(spend.source or '').replace('_', ' ')}, {spend.status})"


class Watcher:
    """Prints a job's events as they come and, on a terminal, one live line of training progress."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._last = ""

    def __call__(self, view: JobView, events: Sequence[EventView]) -> None:
        for event in events:
            self._clear()
            say(f"{event.at:%H:%M:%S}  {event.event}{': ' + event.detail if event.detail else ''}")
        line = _live_line(view)
        if line and line != self._last and view.ended_at is None:
            self._last = line
            self._show(line)

    def _show(self, line: str) -> None:
        if self._is_live:
            click.echo(f"\r\033[K{line}", nl=False, err=True)
        else:
            say(line)

    def _clear(self) -> None:
        if self._is_live:
            click.echo("\r\033[K", nl=False, err=True)


def _live_line(view: JobView) -> str:
    run = view.runs[-1] if view.runs else None
    if run is None or run.ended_at is not None:
        return ""
    told = (
        f"step {run.step}/{run.total_steps}" if run.total_steps else "",
        f"loss {run.loss}" if run.loss else "",
        f"{duration(run.seconds_left)} left" if run.seconds_left is not None else "",
    )
    words = ", ".join(filter(None, told))
    return f"training: {words}" if words else ""


def _progress(what: str, done: int, total: int) -> None:
    share = 100 * done // total if total else 100
    click.echo(f"\r\033[K{what}: {share} %" + ("\r\033[K" if done >= total else ""), nl=False, err=True)
