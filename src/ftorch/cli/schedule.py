"""`ftorch schedule` and its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftorch.cli.common import json_option as json_flag
from ftorch.cli.common import make_client, manifest_argument
from ftorch.cli.output import print_json, say, table
from ftorch.core.errors import UsageError

if TYPE_CHECKING:
    from ftorch.core.paths import Home
    from ftorch.schedule.verbs import OccurrenceView, ScheduleView

_NAME = click.argument("name", metavar="NAME")


@click.group()
def schedule() -> None:
    """Retrain while nobody watches: at a time, and only where there is something new."""


@schedule.command()
@manifest_argument
@click.option("--cron", metavar="EXPR", help='Five fields, or @daily and its like: "0 3 * * 1".')
@click.option("--timezone", metavar="ZONE", help="IANA zone of the five fields; UTC when nobody says.")
@click.option("--when", multiple=True, metavar="TRIGGER", help="always, dataset_changed or hosted_changed; repeatable.")
@click.option("--misfire", type=click.Choice(["skip", "once", "all"]), help="Times that were slept through.")
@click.option("--overlap", type=click.Choice(["skip", "queue_one"]), help="While the last job still runs.")
@click.option("--jitter", metavar="TIME", help="Start up to this much later, such as 10m.")
@json_flag
def add(manifest: Path, *, as_json: bool, **options: Any) -> int:
    """Add the schedule of MANIFEST, or take over its changed block.

    Options stand over the block `schedule` of the manifest. Times before now are not made up for.
    """
    changes = {name: value for name, value in options.items() if value}
    with make_client() as client:
        view = client.schedules.add(manifest, **changes)
        home = client.home
    if as_json:
        print_json(view)
    else:
        say(f"schedule {view.name} is {view.state}, next at {_moment(view.next_at)}: {view.cron} in {view.timezone}")
    _say_who_watches(home)
    return 0


@schedule.command("list")
@json_flag
def list_schedules(*, as_json: bool) -> int:
    """List schedules, each with what became of its newest time."""
    with make_client() as client:
        views = client.schedules.list()
    if as_json:
        print_json(views)
    elif views:
        table(
            ("name", "state", "cron", "zone", "next, UTC", "last"),
            [(v.name, v.state, v.cron, v.timezone, _moment(v.next_at), _last(v)) for v in views],
        )
    else:
        say("there is no schedule; `ftorch schedule add MANIFEST` adds one")
    return 0


@schedule.command()
@_NAME
@json_flag
def show(name: str, *, as_json: bool) -> int:
    """Show a schedule and what became of its newest times."""
    with make_client() as client:
        view = client.schedules.show(name)
    if as_json:
        print_json(view)
        return 0
    for key, value in _lines(view).items():
        click.echo(f"{key:<10} {value}")
    if view.occurrences:
        click.echo("")
        table(
            ("time, UTC", "kind", "state", "job", "why"),
            [(_moment(one.fire_at), one.kind, _state(one), one.job or "-", one.detail) for one in view.occurrences],
        )
    return 0


@schedule.command()
@_NAME
def pause(name: str) -> int:
    """Let no more times count until `resume`; a job that runs goes on."""
    with make_client() as client:
        client.schedules.pause(name)
    say(f"schedule {name} is paused; `ftorch schedule resume {name}` lets its times count again")
    return 0


@schedule.command()
@_NAME
def resume(name: str) -> int:
    """Let times count again, from now on; those of the pause are not made up for."""
    with make_client() as client:
        view = client.schedules.resume(name)
    say(f"schedule {name} is active, next at {_moment(view.next_at)}")
    return 0


@schedule.command()
@_NAME
def trigger(name: str) -> int:
    """Start NAME now, whatever its triggers say; a plan that was trained already is not trained again."""
    with make_client() as client:
        client.schedules.trigger(name)
        client.ensure_daemon()
    say(f"{name} starts now; `ftorch schedule show {name}` says what became of it")
    return 0


@schedule.command()
@_NAME
def remove(name: str) -> int:
    """Remove a schedule; its jobs, adapters and history stay."""
    with make_client() as client:
        client.schedules.remove(name)
    say(f"schedule {name} is removed")
    return 0


@schedule.command("next")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--cron", metavar="EXPR", help="An expression instead of a schedule.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="IANA zone of the expression.")
@click.option("--from", "start", metavar="DATE", help="Date or moment to begin at; now when not given.")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many times.")
@json_flag
def next_times(
    name: str | None, *, cron: str | None, timezone: str, start: str | None, count: int, as_json: bool
) -> int:
    """Print the next times of a schedule, or of an expression, also across a change of the clocks."""
    with make_client() as client:
        if (name is None) is (cron is None):
            raise UsageError("give the NAME of a schedule, or --cron EXPR", hint="run `ftorch schedule list`")
        view = client.schedules.show(name) if name else None
        expression, zone = (view.cron, view.timezone) if view else (cron or "", timezone)
        found = client.schedules.next(expression, timezone=zone, after=_start(start, zone), count=count)
    if as_json:
        print_json([{"fire_at": moment} for moment in found])
        return 0
    from zoneinfo import ZoneInfo

    table(
        ("UTC", zone),
        [(f"{one:%Y-%m-%d %H:%M}", f"{one.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}") for one in found],
    )
    return 0


def _start(text: str | None, zone: str) -> datetime:
    """A date or a moment; what has no zone of its own is in the schedule's."""
    from ftorch.core.clock import SystemClock
    from ftorch.core.cron import zone_of

    if text is None:
        return SystemClock().now()
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=zone_of(zone))
    except ValueError as error:
        raise UsageError(f"--from: {error}", hint="write 2026-03-28, or 2026-03-28T12:00:00+01:00") from error


def _say_who_watches(home: Home) -> None:
    """A schedule without a daemon is a row that nobody reads."""
    from ftorch.jobs.sign import at_work

    found = at_work(home)
    if found is not None and found.stays:
        return
    leaves = "the daemon at work leaves when nothing is left to do" if found else "no daemon is at work here"
    say(f"{leaves}: nothing starts without one that stays")
    say("hint: `ftorch daemon install` makes one that survives reboots; `ftorch daemon start` is enough until then")


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "-"


def _state(one: OccurrenceView) -> str:
    return f"{one.state} ({one.reason})" if one.reason else one.state


def _last(view: ScheduleView) -> str:
    one = view.occurrences[0] if view.occurrences else None
    return f"{_moment(one.fire_at)} {_state(one)}" if one else "-"


def _lines(view: ScheduleView) -> Mapping[str, str]:
    found = {
        "schedule": f"{view.name}, {view.state}",
        "manifest": str(view.manifest) + (" (its block says otherwise by now)" if view.differs else ""),
    }
    if not view.cron:
        return found | {"rule": f"written by another version; `ftorch schedule add {view.manifest}` writes it anew"}
    found |= {
        "times": f"{view.cron} in {view.timezone}, jitter up to {view.jitter_s} s",
        "next": f"{_moment(view.next_at)} UTC",
        "starts": "; ".join(map(str, view.when)),
        "policies": f"misfire {view.misfire}, overlap {view.overlap}",
    }
    return found | ({"budget": f"{view.budget['limit']} per {view.budget['period']}"} if view.budget else {})
