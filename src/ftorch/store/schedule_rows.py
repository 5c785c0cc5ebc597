"""The rows of schedules, versions and notices. As in `rows`, the layers above give the text its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """One manifest that runs again by itself. `rule` and `seen` are JSON; `next_at` is None where no time follows."""

    id: str
    name: str
    manifest_path: str
    host: str
    rule: str
    state: str
    seen: str
    created_at: datetime
    watched_until: datetime
    next_at: datetime | None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceRow:
    """One time of a schedule, and what became of it."""

    id: str
    schedule_id: str
    fire_at: datetime
    kind: str
    state: str
    reason: str | None = None
    detail: str = ""
    job_id: str | None = None
    failures: int = 0
    noted_at: datetime
    next_at: datetime
    ended_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """An adapter that came home: `name/number`. `parent` is the version in service when it came."""

    job_id: str
    name: str
    number: int
    state: str
    reason: str = ""
    parent: str | None
    code: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRow:
    """A version was put into service. `how`: gate, person or rollback; `previous` is the version that made way."""

    id: int = 0
    name: str
    number: int
    previous: int | None
    how: str
    evaluation: str | None
    note: str
    host: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """Something that people are told, once for each `subject`. `body` is JSON."""

    id: str
    subject: str
    kind: str
    job_id: str | None
    body: str
    at: datetime
    sent_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One way to tell one notice. `ended_at` without `sent_at`: it was given up."""

    id: str
    notice_id: str
    channel: str
    attempts: int = 0
    next_at: datetime
    error: str = ""
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    version: int = 1
