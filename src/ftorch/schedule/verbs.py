"""What people do with schedules: add, look, pause, resume, trigger, remove. Each is one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ftorch.core import cron
from ftorch.core.errors import Fault, ManifestError, UsageError
from ftorch.core.host import host_id
from ftorch.core.suggest import did_you_mean
from ftorch.jobs.context import Context
from ftorch.jobs.planner import Planner
from ftorch.manifest.load import load_manifest
from ftorch.manifest.schedule import Schedule
from ftorch.manifest.schema import Manifest
from ftorch.schedule.rule import UnreadableError, rule_in
from ftorch.schedule.states import Kind, Reason, ScheduleState, State
from ftorch.schedule.times import next_time, occurrence_id
from ftorch.schedule.triggers import Looked
from ftorch.store import Store, Transaction, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow

_SHOWN = 50
_YEARS = range(1900, 9900)
UNREADABLE = "unreadable"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class OccurrenceView:
    """One time of a schedule, and what became of it."""

    fire_at: datetime
    kind: str
    state: str
    reason: str | None
    detail: str
    job: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule with its newest occurrences, newest first."""

    name: str
    state: str
    """active, paused, removed; or unreadable, where another version wrote its rule: `ftorch schedule add` mends it."""
    manifest: Path
    cron: str = ""
    timezone: str = ""
    when: Sequence[Any] = ()
    misfire: str = ""
    overlap: str = ""
    jitter_s: int = 0
    next_at: datetime | None = None
    budget: Mapping[str, str] | None = None
    differs: bool = False
    """The block in the manifest is another one by now: `ftorch schedule add` takes it over."""
    occurrences: Sequence[OccurrenceView] = ()


def add(context: Context, path: Path, changes: Mapping[str, Any]) -> ScheduleView:
    """Add a manifest's schedule, or take over its new rule; `changes` stand over the manifest's block.

    New times are not made up for where they lie before now. Raises ManifestError where there is no rule, or UsageError
    where a change makes no sense.
    """
    manifest = load_manifest(path)
    rule = rule_of(manifest, path, changes)
    now = context.clock.now()
    seen = json.dumps({"hosted": _hosted(context, manifest, path, rule)})
    row = ScheduleRow(
        id=context.ids.ulid(now),
        name=manifest.name,
        manifest_path=str(path),
        host=host_id(context.home),
        rule=rule.model_dump_json(),
        state=ScheduleState.ACTIVE,
        seen=seen,
        created_at=now,
        watched_until=now,
        next_at=next_time(rule, now),
    )

    def change(tx: Transaction) -> None:
        known = tx.one(ScheduleRow, schedule_sql.SCHEDULE_NAMED, name=row.name)
        if known is None:
            tx.insert(schedule_sql.ADD_SCHEDULE, row)
        else:
            tx.change("schedules", known, **{name: getattr(row, name) for name in _taken_over(known, rule)})

    context.store.write(change)
    return show(context.store, manifest.name)


def _taken_over(known: ScheduleRow, rule: Schedule) -> tuple[str, ...]:
    """To add the same times again loses none that has just passed: a CI service adds its schedule on every run."""
    try:
        then = rule_in(known)
        same = (then.cron, then.timezone) == (rule.cron, rule.timezone)
    except UnreadableError:
        same = False
    return ("manifest_path", "host", "rule", *(() if same else ("watched_until", "next_at")))


def rule_of(manifest: Manifest, path: Path, changes: Mapping[str, Any]) -> Schedule:
    """The manifest's block with what the command says over it."""
    block = manifest.schedule.model_dump(mode="json") if manifest.schedule else {}
    if not block and "cron" not in changes:
        hint = 'add schedule: {cron: "0 3 * * 1", timezone: Europe/Paris}, or give --cron'
        raise ManifestError([Fault("is missing", file=str(path), key="schedule", hint=hint)])
    try:
        return Schedule.model_validate({**block, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        words = str(first["msg"]).removeprefix("Value error, ")
        option = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        raise UsageError(f"{option}{words}") from error


def schedules(store: Store) -> list[ScheduleView]:
    """All of them, by name, with their newest occurrence."""
    rows = store.read().many(ScheduleRow, schedule_sql.SCHEDULES)
    return [_view(store, row, most=1) for row in rows]


def show(store: Store, name: str) -> ScheduleView:
    """One schedule with its newest occurrences. Raises UsageError for none of that name."""
    return _view(store, named(store, name), most=_SHOWN)


def named(store: Store, name: str) -> ScheduleRow:
    """The schedule of a manifest's name. Raises UsageError for none."""
    found = store.read().one(ScheduleRow, schedule_sql.SCHEDULE_NAMED, name=name)
    if found is None:
        known = [row.name for row in store.read().many(ScheduleRow, schedule_sql.SCHEDULES)]
        words = f"no schedule is called {name!r}{did_you_mean(name, known)}"
        raise UsageError(words, hint="run `ftorch schedule list` to see them, or `ftorch schedule add MANIFEST`")
    return found


def pause(context: Context, name: str) -> ScheduleView:
    """No more times count until `resume`; what runs goes on. Twice is harmless."""
    _set_state(context, name, ScheduleState.PAUSED)
    return show(context.store, name)


def resume(context: Context, name: str) -> ScheduleView:
    """Times count again, from now on: those of the pause are not made up for."""
    row = named(context.store, name)
    if row.state != ScheduleState.ACTIVE:
        now = context.clock.now()
        following = next_time(rule_in(row), now)
        changes = {"state": ScheduleState.ACTIVE.value, "watched_until": now, "next_at": following}

        def change(tx: Transaction) -> None:
            if fresh := tx.one(ScheduleRow, schedule_sql.SCHEDULE, id=row.id):
                tx.change("schedules", fresh, **changes)

        context.store.write(change)
    return show(context.store, name)


def remove(context: Context, name: str) -> None:
    """The schedule is gone; its jobs, adapters and history stay, and a job that runs goes on."""
    _set_state(context, name, ScheduleState.REMOVED)


def trigger(context: Context, name: str) -> OccurrenceView:
    """One occurrence now, whatever the triggers say; it waits while the last job runs, and a plan that was trained
    already is not trained again.
    """
    row = named(context.store, name)
    now = context.clock.now()
    occurrence = OccurrenceRow(
        id=occurrence_id(row.id, now),
        schedule_id=row.id,
        fire_at=now,
        kind=Kind.MANUAL,
        state=State.WAITING,
        noted_at=now,
        next_at=now,
    )
    context.store.write(lambda tx: tx.insert(schedule_sql.ADD_OCCURRENCE, occurrence))
    return _occurrence(occurrence)


def next_times(expression: str, timezone: str, after: datetime, count: int) -> list[datetime]:
    """The next times of any expression. Raises UsageError for what is none, or a year at which no calendar helps."""
    if after.year not in _YEARS:
        raise UsageError(f"{after:%Y} is no year to begin with", hint=f"give one from {_YEARS[0]} to {_YEARS[-1]}")
    try:
        cron.check(expression)
        zone = cron.zone_of(timezone)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return list(islice(cron.times(expression, zone, after - _MICROSECOND), count))


def _set_state(context: Context, name: str, state: ScheduleState) -> None:
    """What waits for its turn waits in vain."""
    found = named(context.store, name)
    now = context.clock.now()

    def change(tx: Transaction) -> None:
        # Read here: a daemon that notes a time meanwhile has moved the row on, and the word would be lost.
        row = tx.one(ScheduleRow, schedule_sql.SCHEDULE, id=found.id)
        assert row is not None
        tx.change("schedules", row, state=state.value)
        for waiting in tx.many(OccurrenceRow, schedule_sql.OCCURRENCES_OPEN):
            if waiting.schedule_id == row.id and waiting.state == State.WAITING:
                reason = Reason.SCHEDULE_PAUSED.value
                tx.change("occurrences", waiting, state=State.SKIPPED.value, reason=reason, ended_at=now)

    context.store.write(change)


def _hosted(context: Context, manifest: Manifest, path: Path, rule: Schedule) -> str | None:
    planner = Planner(context.env, path.parent, context.home, context.store, context.clock)
    return Looked(context, planner, manifest, path, rule, {}, manifest.dataset.path).hosted


def _view(store: Store, row: ScheduleRow, *, most: int) -> ScheduleView:
    found = store.read().many(OccurrenceRow, schedule_sql.OCCURRENCES_OF, schedule_id=row.id, most=most)
    occurrences = [_occurrence(one) for one in found]
    try:
        rule = rule_in(row)
    except UnreadableError:
        return ScheduleView(row.name, UNREADABLE, Path(row.manifest_path), occurrences=occurrences)
    plain = rule.model_dump(mode="json")
    return ScheduleView(
        name=row.name,
        state=row.state,
        manifest=Path(row.manifest_path),
        cron=rule.cron,
        timezone=rule.timezone,
        when=plain["when"],
        misfire=rule.misfire,
        overlap=rule.overlap,
        jitter_s=int(rule.jitter.total_seconds()),
        next_at=row.next_at if row.state == ScheduleState.ACTIVE else None,
        budget=plain["budget"],
        differs=_differs(row, rule),
        occurrences=occurrences,
    )


def _differs(row: ScheduleRow, rule: Schedule) -> bool:
    """A manifest that cannot be read here says nothing."""
    try:
        written = load_manifest(Path(row.manifest_path)).schedule
    except ManifestError:
        return False
    return written is not None and written != rule


def _occurrence(row: OccurrenceRow) -> OccurrenceView:
    return OccurrenceView(row.fire_at, row.kind, row.state, row.reason, row.detail, row.job_id, row.ended_at)
