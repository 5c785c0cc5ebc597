"""What is told of jobs: read from their events, in the order in which they were committed, each once."""

from __future__ import annotations

from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.jobs.states import JobReason
from ftorch.store import EventRow, JobRow, Transaction, schedule_sql, sql

_CURSOR = "notices/events"
_KINDS = {
    "job succeeded": NoticeKind.FINISHED,
    "job failed": NoticeKind.FAILED,
    "job cancelled": NoticeKind.FAILED,
    "job lost": NoticeKind.FAILED,
    "failed": NoticeKind.FAILED,
    "lost": NoticeKind.FAILED,
    "job unknown": NoticeKind.UNKNOWN,
    "over budget": NoticeKind.OVER_BUDGET,
}
_HINTS = {
    NoticeKind.FINISHED: "ftorch adapters verify {job}",
    NoticeKind.FAILED: "ftorch logs {job}",
    NoticeKind.UNKNOWN: "look at the provider, then ftorch jobs retry {job} or ftorch cancel {job}",
    NoticeKind.OVER_BUDGET: "ftorch jobs show {job}",
}


class Gatherer:
    """Makes notices of what happens to jobs. Remembers how far it has looked, so that an event is read once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked = 0

    def has_news(self) -> bool:
        """Something has happened since the last time, or nobody has looked yet. Reads alone."""
        reader = self._context.store.read()
        known = reader.scalar(sql.GET_META, key=_CURSOR)
        if known is None:
            return True
        # Asked first: events become visible in the order of their numbers.
        newest = int(reader.scalar(schedule_sql.LAST_EVENT))
        if reader.many(EventRow, schedule_sql.ENDS_SINCE, after=max(int(known), self._looked)):
            return True
        self._looked = max(newest, self._looked)
        return False

    def gather(self) -> int:
        """Make notices of what has happened since the last time; returns how many events that were.

        The first time nothing is told: what was over before is no news.
        """
        return self._context.store.write(lambda tx: _gather(self._context, tx))


def _gather(context: Context, tx: Transaction) -> int:
    known = tx.scalar(sql.GET_META, key=_CURSOR)
    if known is None:
        tx.put_meta(_CURSOR, str(tx.scalar(schedule_sql.LAST_EVENT)))
        return 0
    events = tx.many(EventRow, schedule_sql.ENDS_SINCE, after=int(known))
    for event in events:
        job = tx.one(JobRow, sql.JOB, id=event.job_id)
        if job is not None:
            tell(context, tx, _notice(tx, job, event))
    if events:
        tx.put_meta(_CURSOR, str(events[-1].seq))
    return len(events)


def _notice(tx: Transaction, job: JobRow, event: EventRow) -> Notice:
    kind = _KINDS[event.event]
    if kind is NoticeKind.FAILED and job.reason == JobReason.OVER_BUDGET:
        kind = NoticeKind.OVER_BUDGET
    word = event.event.removeprefix("job ")
    return Notice(
        kind=kind,
        subject=f"event/{event.seq}",
        title=f"{job.name}: job {job.id} {'is ' if word in ('unknown', 'lost', 'over budget') else ''}{word}",
        text=": ".join(
            filter(None, (job.reason if kind is not NoticeKind.FINISHED else "", event.detail or job.detail))
        ),
        hint=_HINTS[kind].format(job=job.id),
        job_id=job.id,
        dollars={
            "spend": Money.from_micro(ledger.spent_micro(tx, job.id)),
            "held": Money.from_micro(ledger.held_micro(tx, job.id)),
            "estimate": _money(job.estimate_micro),
            "limit": _money(job.limit_micro),
        },
        about={"name": job.name, "provider": job.provider},
    )


def _money(micro: int | None) -> Money | None:
    return None if micro is None else Money.from_micro(micro)
