"""Schedules, versions and notices, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.store import EventRow, IntegrityError, Store, schedule_sql
from ftorch.store.schedule_rows import DeliveryRow, NoticeRow, OccurrenceRow, PromotionRow, ScheduleRow, VersionRow
from unit.jobs import rows
from unit.store.test_store import NOW

SCHEDULE = ScheduleRow(
    id="s1",
    name="support",
    manifest_path="/m.yaml",
    host="here",
    rule="{}",
    state="active",
    seen="{}",
    created_at=NOW,
    watched_until=NOW,
    next_at=NOW + timedelta(hours=1),
)
OCCURRENCE = OccurrenceRow(
    id="s1/1", schedule_id="s1", fire_at=NOW, kind="on_time", state="waiting", noted_at=NOW, next_at=NOW
)
VERSION = VersionRow(job_id="job-1", name="support", number=1, state="kept", parent=None, code="0.1.0", made_at=NOW)
NOTICE = NoticeRow(id="n1", subject="event/1", kind="failed", job_id="job-1", body="{}", at=NOW)
DELIVERY = DeliveryRow(id="n1/slack", notice_id="n1", channel="slack", next_at=NOW)


@pytest.fixture(autouse=True)
def job(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(rows.job(), "{}"))
    store.write(lambda tx: tx.insert(schedule_sql.ADD_SCHEDULE, SCHEDULE))


def test_a_schedule_is_due_when_its_time_has_come_and_it_is_active(store: Store) -> None:
    def due(seconds: int) -> list[str]:
        moment = NOW + timedelta(seconds=seconds)
        return [row.id for row in store.read().many(ScheduleRow, schedule_sql.SCHEDULES_DUE, moment=moment)]

    early, in_time = due(3599), due(3600)
    store.write(lambda tx: tx.change("schedules", SCHEDULE, state="paused"))

    assert (early, in_time, due(3600)) == ([], ["s1"], [])
    assert store.read().scalar(schedule_sql.NEXT_TIME) is None


def test_a_name_has_one_schedule_until_it_is_removed(store: Store) -> None:
    again = replace(SCHEDULE, id="s2")
    with pytest.raises(IntegrityError):
        store.write(lambda tx: tx.insert(schedule_sql.ADD_SCHEDULE, again))

    store.write(lambda tx: tx.change("schedules", SCHEDULE, state="removed"))
    store.write(lambda tx: tx.insert(schedule_sql.ADD_SCHEDULE, again))

    assert [row.id for row in store.read().many(ScheduleRow, schedule_sql.SCHEDULES)] == ["s2"]


def test_a_time_is_noted_once_whoever_notes_it(store: Store) -> None:
    made = [store.write(lambda tx: tx.insert(schedule_sql.ADD_OCCURRENCE, OCCURRENCE)) for _ in range(2)]

    assert made == [1, 0]
    assert len(store.read().many(OccurrenceRow, schedule_sql.OCCURRENCES_OF, schedule_id="s1", most=9)) == 1


def test_an_occurrence_moves_on_by_compare_and_set(store: Store) -> None:
    store.write(lambda tx: tx.insert(schedule_sql.ADD_OCCURRENCE, OCCURRENCE))

    moved = [
        store.write(lambda tx: tx.change("occurrences", OCCURRENCE, state="started", job_id="job-1")) for _ in range(2)
    ]

    [found] = store.read().many(OccurrenceRow, schedule_sql.OCCURRENCES_OPEN)
    assert (moved, found.state, found.version) == ([True, False], "started", 2)
    assert store.read().pairs(schedule_sql.JOBS_OF_SCHEDULE, name="support") == {"job-1": "support"}


def test_the_newest_promotion_says_what_serves(store: Store) -> None:
    store.write(lambda tx: tx.insert(schedule_sql.ADD_VERSION, VERSION))
    row = PromotionRow(
        name="support", number=1, previous=None, how="gate", evaluation=None, note="", host="here", at=NOW
    )
    for promotion in (row, replace(row, number=2, previous=1), replace(row, number=1, previous=2, how="rollback")):
        store.write(lambda tx, p=promotion: tx.insert(schedule_sql.ADD_PROMOTION, p, without="id"))  # type: ignore[misc]  # mypy cannot infer a default's type

    reader = store.read()
    assert reader.pairs(schedule_sql.IN_SERVICE) == {"support": 1}
    assert reader.scalar(schedule_sql.LAST_NUMBER, name="support") == 1
    assert [one.how for one in reader.many(PromotionRow, schedule_sql.PROMOTIONS, name="support")] == [
        "gate",
        "gate",
        "rollback",
    ]
    first, last = (
        reader.one(PromotionRow, statement, name="support")
        for statement in (schedule_sql.FIRST_PROMOTION, schedule_sql.LAST_PROMOTION)
    )
    assert first is not None
    assert last is not None
    assert (first.number, last.how) == (1, "rollback")


def test_a_subject_is_told_once_and_sent_out_once(store: Store) -> None:
    made = [
        store.write(lambda tx, n=n: tx.insert(schedule_sql.ADD_NOTICE, replace(NOTICE, id=n)))  # type: ignore[misc]  # as above
        for n in ("n1", "n2")
    ]
    sent = [store.write(lambda tx: tx.run(schedule_sql.SENT_OUT, id="n1")) for _ in range(2)]
    store.write(lambda tx: tx.insert(schedule_sql.ADD_DELIVERY, DELIVERY))

    assert (made, sent) == ([1, 0], [1, 0])
    assert store.read().many(NoticeRow, schedule_sql.NOTICES_NEW) == []
    assert [row.id for row in store.read().many(DeliveryRow, schedule_sql.DELIVERIES_OPEN)] == ["n1/slack"]
    assert [row.id for row in store.read().many(NoticeRow, schedule_sql.NOTICES, most=9)] == ["n1"]


def test_the_ends_of_jobs_are_found_among_all_events(store: Store) -> None:
    for name in ("submitted", "job running", "job succeeded", "over budget"):
        row = EventRow(seq=0, job_id="job-1", run_key=None, at=NOW, event=name, detail="")
        store.write(lambda tx, row=row: tx.add_event(row))  # type: ignore[misc]  # as above

    found = store.read().many(EventRow, schedule_sql.ENDS_SINCE, after=0)

    assert [event.event for event in found] == ["job succeeded", "over budget"]
    assert store.read().scalar(schedule_sql.LAST_EVENT) == found[-1].seq
