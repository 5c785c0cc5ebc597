"""Moving an occurrence on by compare-and-set, with what people are told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from ftorch.core.clock import rfc3339
from ftorch.core.money import Money
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.schedule.states import ENDED, Reason, State
from ftorch.store import Transaction, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow


def end(
    context: Context,
    occurrence: OccurrenceRow,
    state: State,
    reason: Reason | None = None,
    detail: str = "",
    *,
    notice: Notice | None = None,
) -> bool:
    """End an occurrence, and tell why where somebody should know. False: another process has moved it on."""
    return context.store.write(lambda tx: end_in(context, tx, occurrence, state, reason, detail, notice=notice))


def end_in(
    context: Context,
    tx: Transaction,
    occurrence: OccurrenceRow,
    state: State,
    reason: Reason | None = None,
    detail: str = "",
    *,
    notice: Notice | None = None,
) -> bool:
    """As `end`, within a change."""
    assert state in ENDED
    now = context.clock.now()
    changes = {"state": state.value, "reason": reason and reason.value, "detail": detail, "ended_at": now}
    if not tx.change("occurrences", occurrence, **changes):
        return False
    if notice is not None:
        tell(context, tx, notice)
    return True


def move(context: Context, occurrence: OccurrenceRow, **changes: object) -> bool:
    """Change an occurrence that still is as it was read."""
    return context.store.write(lambda tx: tx.change("occurrences", occurrence, **changes))


def news(
    kind: NoticeKind,
    schedule: ScheduleRow,
    occurrence: OccurrenceRow,
    title: str,
    text: str = "",
    *,
    hint: str = "",
    dollars: Mapping[str, Money | None] | None = None,
    about: Mapping[str, str | None] | None = None,
) -> Notice:
    """What is told about an occurrence: each kind of news once."""
    return Notice(
        kind=kind,
        subject=f"occurrence/{occurrence.job_id or occurrence.id}/{kind}",
        title=title,
        text=text,
        hint=hint,
        job_id=occurrence.job_id,
        dollars=dollars or {},
        about={"schedule": schedule.name, "occurrence": rfc3339(occurrence.fire_at), **(about or {})},
    )


def forgotten(seen: str) -> str:
    """What was seen, as text, after the job that came of it ended without an adapter: the hosted model's change still
    waits for one. The data needs no word: a job that failed is not what was trained last.
    """
    return json.dumps({"hosted": json.loads(seen).get("hosted_before")})


def again(context: Context, occurrence: OccurrenceRow) -> OccurrenceRow | None:
    """The occurrence as it is in the database now."""
    return context.store.read().one(OccurrenceRow, schedule_sql.OCCURRENCE, id=occurrence.id)


def when_words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
