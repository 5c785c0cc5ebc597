"""What becomes of a schedule's times while jobs run, fail, and people change their minds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.core.errors import StoreError, UsageError
from ftorch.jobs.admit import ask_retry
from ftorch.jobs.context import Context
from ftorch.schedule.verbs import named, pause, remove, resume, schedules, show, trigger
from ftorch.store import schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow
from unit.schedule.bench import START, Bench


def outcomes(bench: Bench) -> list[tuple[str, str | None]]:
    """State and reason of every time, oldest first."""
    return [(row.state, row.reason) for row in reversed(bench.occurrences())]


def pause_and_resume(bench: Bench) -> None:
    pause(bench.context, "support")
    resume(bench.context, "support")


def test_a_time_that_has_come_is_one_job_with_its_reason(bench: Bench) -> None:
    bench.add()

    found = bench.pass_hour()
    bench.look()

    [job] = bench.jobs()
    assert (found.state, found.job_id, found.detail) == ("started", job.id, "nothing of this name was trained yet")
    assert [event.event for event in bench.context.store.events_of(job.id)] == ["submitted", "scheduled"]


def test_nothing_starts_before_its_time(bench: Bench) -> None:
    bench.add()

    bench.clock.advance(3599)
    bench.look()

    assert (len(bench.occurrences()), len(bench.jobs())) == (0, 0)


def test_jitter_lets_a_time_wait(bench: Bench) -> None:
    bench.add(jitter="30m")

    waiting = bench.pass_hour()
    bench.clock.advance(30 * 60)
    bench.look()

    assert waiting.state == "waiting"
    assert timedelta(0) < waiting.next_at - waiting.fire_at < timedelta(minutes=30)
    assert bench.occurrences()[0].state == "started"


def test_while_the_last_job_runs_a_time_is_skipped(bench: Bench) -> None:
    bench.add(when="always")

    bench.pass_hour()
    bench.pass_hour()

    assert outcomes(bench) == [("started", None), ("skipped", "overlap")]


def test_one_time_may_queue_and_the_next_one_is_skipped(bench: Bench) -> None:
    bench.add(when="always", overlap="queue_one")
    for _ in range(3):
        bench.pass_hour()

    bench.job_ends()
    bench.look()

    assert outcomes(bench) == [("failed", "job"), ("started", None), ("skipped", "overlap")]
    assert len(bench.jobs()) == 2


def test_what_is_made_up_for_waits_its_turn(bench: Bench) -> None:
    bench.add(when="always", misfire="all", misfire_max=2)
    bench.clock.advance(4 * 3600 + 600)
    bench.look()

    states = outcomes(bench)
    bench.job_ends()
    bench.look()

    late = ("skipped", "slept_through")
    assert states == [late, late, ("started", None), ("waiting", None)]
    assert outcomes(bench)[2:] == [("failed", "job"), ("started", None)]


def test_a_paused_schedule_starts_nothing_and_makes_up_for_nothing(bench: Bench) -> None:
    bench.add()
    pause(bench.context, "support")
    bench.clock.advance(5 * 3600)
    bench.look()

    resumed = resume(bench.context, "support")
    bench.look()

    assert (resumed.state, resumed.next_at) == ("active", START + timedelta(hours=6))
    assert bench.jobs() == []


def test_what_waits_when_a_schedule_is_paused_waits_in_vain(bench: Bench) -> None:
    bench.add(jitter="30m")
    bench.pass_hour()

    pause(bench.context, "support")

    assert outcomes(bench) == [("skipped", "schedule_paused")]


def test_a_person_starts_it_whatever_the_triggers_say(bench: Bench) -> None:
    bench.add()
    trigger(bench.context, "support")

    bench.look()

    assert (bench.occurrences()[0].kind, bench.occurrences()[0].detail) == ("manual", "asked by a person")
    assert len(bench.jobs()) == 1


def test_an_adapter_that_waits_to_be_judged_keeps_a_daemon_that_would_leave(bench: Bench) -> None:
    bench.add()
    bench.pass_hour()
    while_it_trains = bench.scheduler.tick().open
    bench.job_ends("succeeded")

    assert (while_it_trains, bench.scheduler.tick().open) == (0, 1)


def test_what_a_retried_job_brings_home_is_judged_too(bench: Bench) -> None:
    bench.add()
    bench.pass_hour()
    bench.job_ends("failed")
    bench.look()
    failed = bench.occurrences()[0].state
    ask_retry(bench.context, bench.jobs()[0].id)

    bench.look()
    again = bench.occurrences()[0]
    bench.job_ends("succeeded")
    bench.scheduler.tick()

    assert (failed, again.state, again.reason, again.ended_at) == ("failed", "started", None, None)
    assert bench.occurrences()[0].state == "judging"


def test_to_add_a_schedule_again_takes_over_the_new_rule(bench: Bench) -> None:
    bench.add()
    bench.add(cron="30 4 * * *", timezone="Europe/Paris")

    [found] = schedules(bench.context.store)

    assert (found.cron, found.timezone, found.differs) == ("30 4 * * *", "Europe/Paris", True)


def test_to_add_the_same_times_again_loses_none_that_has_just_passed(bench: Bench) -> None:
    bench.add()
    bench.clock.advance(3700)

    bench.add(misfire="skip")
    bench.look()

    assert outcomes(bench) == [("started", None)]


def test_new_times_are_not_made_up_for(bench: Bench) -> None:
    bench.add()
    bench.clock.advance(3700)

    bench.add(cron="30 * * * *")
    bench.look()

    assert bench.occurrences() == []


def test_a_removed_schedule_leaves_its_jobs_and_its_name(bench: Bench) -> None:
    bench.add()
    bench.pass_hour()
    remove(bench.context, "support")

    bench.add()

    assert len(bench.jobs()) == 1
    assert show(bench.context.store, "support").occurrences == []
    with pytest.raises(UsageError, match=r"no schedule is called 'suport' .did you mean 'support'"):
        show(bench.context.store, "suport")


def test_a_manifest_that_is_broken_by_now_ends_the_occurrence_and_is_told(bench: Bench) -> None:
    bench.add()
    bench.manifest.write_text("version: 1\nname: support\nmethood: {}\n")

    found = bench.pass_hour()

    assert (found.state, found.reason) == ("failed", "manifest")
    assert [notice.kind for notice in bench.notices()] == ["failed"]


def test_what_may_pass_is_tried_again_later(bench: Bench) -> None:
    bench.add()
    text = bench.manifest.read_text()
    bench.manifest.write_text(text.replace("path: rows.jsonl", "path: 'nowhere-at-all://bucket/rows.jsonl'"))

    refused = bench.pass_hour()
    bench.add()
    bench.manifest.write_text(text.replace("path: rows.jsonl", "path: 'http://127.0.0.1:9/rows.jsonl'"))
    waits = bench.pass_hour()
    bench.manifest.write_text(text)
    bench.clock.advance(60)
    bench.look()

    assert (refused.state, refused.reason) == ("failed", "manifest")
    assert (waits.state, waits.failures) == ("waiting", 1)
    assert "cannot be read now" in waits.detail
    assert bench.occurrences()[0].state == "started"


def test_a_schedule_that_cannot_be_read_holds_up_no_other(bench: Bench) -> None:
    bench.write(*["yes"] * 40)
    bench.add()
    [good] = bench.context.store.read().many(ScheduleRow, schedule_sql.SCHEDULES)
    bad = replace(good, id="00000000000000000000000000", name="bad", rule='{"of": "another version"}')
    bench.context.store.write(lambda tx: tx.insert(schedule_sql.ADD_SCHEDULE, bad))

    bench.clock.advance(3600)
    bench.look()

    found = bench.context.store.read().many(OccurrenceRow, schedule_sql.OCCURRENCES_OPEN)
    assert [(row.schedule_id, row.state) for row in found] == [(good.id, "started")]


@pytest.fixture
def unreadable(bench: Bench) -> None:
    """The rule of the schedule is another version's."""
    bench.add()
    rule = '{"of": "another version"}'
    bench.context.store.write(lambda tx: tx.run("UPDATE schedules SET rule = :rule", rule=rule))


def test_nobody_runs_after_a_schedule_that_cannot_be_read(bench: Bench, unreadable: None) -> None:
    bench.clock.advance(3600)

    assert bench.scheduler.tick().next_at is None


def test_a_schedule_that_cannot_be_read_is_told_of_once(
    bench: Bench, unreadable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.clock.advance(3600)
    bench.look()

    assert capsys.readouterr().out.count("a schedule cannot be followed") == 1


def test_a_schedule_that_cannot_be_read_is_listed_as_such(bench: Bench, unreadable: None) -> None:
    assert [(view.name, view.state) for view in schedules(bench.context.store)] == [("support", "unreadable")]
    with pytest.raises(StoreError, match="the rule of schedule support cannot be read"):
        pause_and_resume(bench)


def test_to_add_a_schedule_that_cannot_be_read_writes_it_anew(bench: Bench, unreadable: None) -> None:
    bench.add()

    assert (bench.pass_hour().state, schedules(bench.context.store)[0].state) == ("started", "active")


@pytest.mark.parametrize("verb", [pause, remove])
def test_a_word_about_a_schedule_is_not_lost_to_a_daemon_that_notes_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: Callable[[Context, str], object]
) -> None:
    bench.write(*["yes"] * 40)
    bench.add()
    stale = named(bench.context.store, "support")
    bench.clock.advance(3600)
    bench.scheduler.tick()
    monkeypatch.setattr("ftorch.schedule.verbs.named", lambda _store, _name: stale)

    verb(bench.context, "support")

    row = bench.context.store.read().one(ScheduleRow, schedule_sql.SCHEDULE, id=stale.id)
    assert row is not None
    assert row.state != "active"
