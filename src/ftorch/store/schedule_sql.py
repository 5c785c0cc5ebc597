"""The statements of schedules, versions and notices. `:now` is kept for leases: see `sql`."""

from __future__ import annotations

from ftorch.store.rows import EventRow, columns
from ftorch.store.schedule_rows import DeliveryRow, NoticeRow, OccurrenceRow, PromotionRow, ScheduleRow, VersionRow


def _names(row_type: type, without: str = "") -> tuple[str, ...]:
    return tuple(name for name in columns(row_type) if name != without)


def _select(row_type: type, table: str) -> str:
    return f"SELECT {', '.join(_names(row_type))} FROM {table}"


def _insert(row_type: type, table: str, without: str = "") -> str:
    names = _names(row_type, without)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})"


_SCHEDULE = _select(ScheduleRow, "schedules")
_OCCURRENCE = _select(OccurrenceRow, "occurrences")
_VERSION = _select(VersionRow, "versions")
_PROMOTION = _select(PromotionRow, "promotions")
_NOTICE = _select(NoticeRow, "notices")
_DELIVERY = _select(DeliveryRow, "deliveries")

ADD_SCHEDULE = _insert(ScheduleRow, "schedules")
SCHEDULES = f"{_SCHEDULE} WHERE state <> 'removed' ORDER BY name"
SCHEDULE = f"{_SCHEDULE} WHERE id = :id"
SCHEDULE_NAMED = f"{_SCHEDULE} WHERE name = :name AND state <> 'removed'"
SCHEDULES_DUE = f"{_SCHEDULE} WHERE state = 'active' AND next_at <= :moment ORDER BY id"
NEXT_TIME = "SELECT MIN(next_at) AS at FROM schedules WHERE state = 'active'"

# A time that another process has noted already is left as it is.
ADD_OCCURRENCE = f"{_insert(OccurrenceRow, 'occurrences')} ON CONFLICT (id) DO NOTHING"
OCCURRENCE = f"{_OCCURRENCE} WHERE id = :id"
OCCURRENCES_OPEN = f"{_OCCURRENCE} WHERE ended_at IS NULL ORDER BY schedule_id, fire_at"
OCCURRENCES_RETRIED = (
    f"{_OCCURRENCE} WHERE state = 'failed' AND reason = 'job' AND EXISTS ("
    "SELECT 1 FROM jobs WHERE jobs.id = job_id AND (jobs.ended_at IS NULL OR jobs.state = 'succeeded'))"
)
OCCURRENCES_OF = f"{_OCCURRENCE} WHERE schedule_id = :schedule_id ORDER BY fire_at DESC LIMIT :most"
JOBS_OF_SCHEDULE = (
    "SELECT occurrences.job_id, schedules.name FROM occurrences JOIN schedules ON schedules.id = schedule_id "
    "WHERE schedules.name = :name AND occurrences.job_id IS NOT NULL"
)

ADD_VERSION = f"{_insert(VersionRow, 'versions')} ON CONFLICT (job_id) DO NOTHING"
LAST_NUMBER = "SELECT COALESCE(MAX(number), 0) AS n FROM versions WHERE name = :name"
VERSIONS = f"{_VERSION} ORDER BY made_at DESC, job_id DESC"
VERSION = f"{_VERSION} WHERE name = :name AND number = :number"
VERSION_OF_JOB = f"{_VERSION} WHERE job_id = :job_id"
SAY_OF_VERSION = "UPDATE versions SET state = :state, reason = :reason WHERE job_id = :job_id"

ADD_PROMOTION = _insert(PromotionRow, "promotions", "id")
LAST_PROMOTION = f"{_PROMOTION} WHERE name = :name ORDER BY id DESC LIMIT 1"
FIRST_PROMOTION = f"{_PROMOTION} WHERE name = :name ORDER BY id LIMIT 1"
PROMOTIONS = f"{_PROMOTION} WHERE name = :name ORDER BY id"
IN_SERVICE = "SELECT name, number FROM promotions WHERE id IN (SELECT MAX(id) FROM promotions GROUP BY name)"

ADD_NOTICE = f"{_insert(NoticeRow, 'notices')} ON CONFLICT (subject) DO NOTHING"
NOTICES = f"{_NOTICE} ORDER BY id DESC LIMIT :most"
NOTICES_NEW = f"{_NOTICE} WHERE sent_out = 0 ORDER BY id"
NOTICE = f"{_NOTICE} WHERE id = :id"
SENT_OUT = "UPDATE notices SET sent_out = 1 WHERE id = :id AND sent_out = 0"
ADD_DELIVERY = f"{_insert(DeliveryRow, 'deliveries')} ON CONFLICT (id) DO NOTHING"
DELIVERIES_OPEN = f"{_DELIVERY} WHERE ended_at IS NULL ORDER BY next_at, id"
DELIVERIES_OF = f"{_DELIVERY} WHERE notice_id = :notice_id ORDER BY channel"
DELIVERY = f"{_DELIVERY} WHERE id = :id"

# How a job went, in the order in which it was committed: what people are told about jobs is read from here.
LAST_EVENT = "SELECT COALESCE(MAX(seq), 0) AS seq FROM events"
ENDS_SINCE = (
    f"SELECT {', '.join(_names(EventRow))} FROM events WHERE seq > :after AND event IN ('job succeeded', 'job failed', "
    "'job cancelled', 'job lost', 'job unknown', 'failed', 'lost', 'over budget') ORDER BY seq LIMIT 500"
)
