"""An occurrence that is due: is there something to train, and is there money for it? Then its job, in one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ftorch.core.errors import BudgetError, Fault, FtorchError, ManifestError
from ftorch.core.money import Money
from ftorch.costs.budget import Limit
from ftorch.costs.estimate import Estimate
from ftorch.data.remote import brought, named
from ftorch.jobs.admit import admit
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind
from ftorch.jobs.plan import Resolved
from ftorch.jobs.planner import Planner
from ftorch.jobs.preview import PlanView
from ftorch.jobs.states import CANCELLED, JobState
from ftorch.manifest.load import load_manifest
from ftorch.manifest.plan import Plan
from ftorch.manifest.schedule import PeriodBudget, Schedule
from ftorch.schedule.allowance import limit_of
from ftorch.schedule.change import end_in, news, when_words
from ftorch.schedule.rule import rule_in
from ftorch.schedule.states import Kind, Reason, State
from ftorch.schedule.triggers import Answer, Looked, ask
from ftorch.store import JobRow, Transaction, schedule_sql, sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow

_BY_HAND = Answer("asked by a person")
_MOST_FAILED = 2
_NOTHING = Money(Decimal(0))
_NO_LIMIT = PeriodBudget(limit=_NOTHING)


class OvertakenError(FtorchError):
    """Another process has moved the occurrence on: nothing of ours is kept."""


def start(context: Context, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
    """Ask the triggers; submit the job, or end the occurrence with the reason why there is none.

    An unchanged plan is not trained again, whatever the triggers say, unless the schedule says `always`. Raises what
    `plan` raises, CredentialsError, or DataError; nothing was sent then.
    """
    looked = look(context, schedule)
    try:
        answer = _BY_HAND if occurrence.kind == Kind.MANUAL else ask(looked)
        if answer.why is None:
            _skip(context, schedule, occurrence, looked.next_seen, answer.words)
        else:
            _submit(context, schedule, occurrence, looked, answer.why)
    except BudgetError as error:
        _over_budget(context, schedule, occurrence, error)


def look(context: Context, schedule: ScheduleRow) -> Looked:
    """The schedule's manifest as it is now; its folder's `ftorch.toml` counts."""
    path = Path(schedule.manifest_path)
    manifest = load_manifest(path)
    source = named(manifest.dataset.path)
    # Once: a dataset that lies elsewhere is not brought here again when its rows are read.
    manifest = manifest.model_copy(update={"dataset": brought(manifest.dataset, context.home)})
    if manifest.name != schedule.name:
        words = f"is {manifest.name!r} now; the schedule is that of {schedule.name!r}"
        hint = f"run `ftorch schedule remove {schedule.name}`, then `ftorch schedule add {path}`"
        raise ManifestError([Fault(words, file=str(path), key="name", hint=hint)])
    planner = Planner(context.env, path.parent, context.home, context.store, context.clock)
    rule = rule_in(schedule)
    return Looked(context, planner, manifest, path, rule, json.loads(schedule.seen), source)


@dataclass(frozen=True, slots=True)
class Along:
    """What is committed with the job."""

    context: Context
    schedule: ScheduleRow
    occurrence: OccurrenceRow
    rule: Schedule
    seen: Mapping[str, Any]
    why: str

    def limits(self, tx: Transaction) -> Sequence[Limit]:
        rule = self.rule.budget
        return [limit_of(tx, self.schedule.name, rule, self.context.clock.now())] if rule else []

    def admitted(self, tx: Transaction, job: JobRow) -> None:
        now = self.context.clock.now()
        changes = {"state": State.STARTED.value, "job_id": job.id, "detail": self.why, "next_at": now, "failures": 0}
        if not tx.change("occurrences", self.occurrence, **changes):
            raise OvertakenError(f"another process has started the occurrence {self.occurrence.id}")
        _keep_seen(tx, self.schedule, self.seen)
        words = f"{self.schedule.name} at {when_words(self.occurrence.fire_at)}: {self.why}"
        tx.add_event(self.context.event(job.id, None, "scheduled", words))


def _submit(context: Context, schedule: ScheduleRow, occurrence: OccurrenceRow, looked: Looked, why: str) -> None:
    view: PlanView = looked.planner.view(looked.resolved)
    is_by_itself = occurrence.kind != Kind.MANUAL and not looked.rule.always
    if is_by_itself and (given_up := _given_up(context, view.plan)):
        words = f"{why}; but {given_up}: `ftorch schedule trigger` tries again"
        _skip(context, schedule, occurrence, looked.seen, words)
        return
    # Opened as the engine will open it: what is missing is said with the occurrence, not by a job that cannot go on.
    context.open_provider(view.provider)
    context.secrets(view.plan)
    along = Along(context, schedule, occurrence, looked.rule, looked.next_seen, why)
    standing = take_in(along, view.resolved, view.estimate)
    if standing is not None:
        words = f"{why}; but job {standing.id} has this very plan"
        title = f"{schedule.name}: something changed, and there is nothing to train"
        told = news(NoticeKind.CHANGED, schedule, occurrence, title, words, dollars={"spend": _NOTHING})
        # A person who asked by hand looks for the answer.
        news_of_it = None if occurrence.kind == Kind.MANUAL else told
        _skip(context, schedule, occurrence, looked.next_seen, words, news_of_it)


def _given_up(context: Context, plan: Plan) -> str:
    """Why this very plan is not trained once more by itself: the same data would be paid for at every time."""
    known = context.store.read().many(JobRow, sql.JOBS_BY_NAME, name=plan.name)
    jobs = [job for job in known if job.plan_hash == plan.hash]
    cancelled = next((job.id for job in jobs if job.desired == CANCELLED), None)
    failed = [job.id for job in jobs if job.state == JobState.FAILED]
    if cancelled:
        return f"job {cancelled} of this very plan was cancelled"
    return f"jobs {' and '.join(failed)} of this very plan failed" if len(failed) >= _MOST_FAILED else ""


def take_in(along: Along, resolved: Resolved, estimate: Estimate | None) -> JobRow | None:
    """The job and the occurrence that points to it, in one commit; nothing where another process was first.

    Returns the job that has this very plan already, None otherwise. Raises BudgetError.
    """
    try:
        admitted = admit(along.context, resolved, estimate, again=along.rule.always, along=along)
    except OvertakenError:
        return None
    return None if admitted.is_new else admitted.job


def _skip(
    context: Context,
    schedule: ScheduleRow,
    occurrence: OccurrenceRow,
    seen: Mapping[str, Any],
    words: str,
    notice: Notice | None = None,
) -> None:
    """Nothing to train: nothing is spent, and the next look begins from here."""

    def change(tx: Transaction) -> None:
        if end_in(context, tx, occurrence, State.SKIPPED, Reason.UNCHANGED, words, notice=notice):
            _keep_seen(tx, schedule, seen)

    context.store.write(change)


def _over_budget(context: Context, schedule: ScheduleRow, occurrence: OccurrenceRow, error: BudgetError) -> None:
    """The limit that stands in the way may be another's: the words name it, the dollars are the schedule's own."""
    own = rule_in(schedule).budget

    def change(tx: Transaction) -> None:
        limit = limit_of(tx, schedule.name, own or _NO_LIMIT, context.clock.now())
        dollars = {"limit": limit.limit if own else None, "spent": limit.spent, "held": limit.held}
        title = f"{schedule.name}: no money for the occurrence of {when_words(occurrence.fire_at)}"
        told = news(
            NoticeKind.OVER_BUDGET,
            schedule,
            occurrence,
            title,
            error.message,
            hint=error.hint or "",
            dollars=dollars,
        )
        end_in(context, tx, occurrence, State.OVER_BUDGET, None, error.message, notice=told)

    context.store.write(change)


def _keep_seen(tx: Transaction, schedule: ScheduleRow, seen: Mapping[str, Any]) -> None:
    now = tx.one(ScheduleRow, schedule_sql.SCHEDULE, id=schedule.id)
    if now is not None:
        tx.change("schedules", now, seen=json.dumps(dict(seen)))
