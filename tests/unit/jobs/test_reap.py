"""Strays: listed, ended and booked; never those of somebody else, never one that an open row answers for."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.core.errors import CredentialsError, ProviderUnavailableError
from ftorch.core.ids import Ids, made_at, run_key
from ftorch.jobs.admit import ask_cancel, ask_retry
from ftorch.jobs.reap import ReapReport, reap, sweep
from ftorch.providers.base import Provider, RunState
from unit.jobs.cloud import NAME, Remote
from unit.jobs.desk import Desk

OURS, THEIRS = "abc123", "zzz999"


def stray(desk: Desk, installation: str = OURS) -> Remote:
    """A run that no row knows."""
    return desk.cloud.create(run_key(installation, Ids().ulid(desk.clock.now())))


_UNSEEN_S = 2000.0
"""Longer than it takes to close a job, with all the chance there is in its pauses, and than a sweep is away."""


def reaped(desk: Desk, *, yes: bool = False) -> ReapReport:
    return reap(desk.context, [NAME], is_asked=True, yes=yes)


def late_duplicate(desk: Desk) -> tuple[str, Remote]:
    """A job that has ended, and a run under its run's key that shows itself only now."""
    job = desk.finish(desk.submit())
    desk.cloud.training = timedelta(days=1)
    return job.id, desk.cloud.create(desk.runs(job.id)[0].key)


def closed_unseen(desk: Desk, *, daemon_leaves: bool = True) -> str:
    """A cancelled job whose create showed itself only after its row was closed, and has ended since.

    A daemon that stays sweeps too, now and then, and may be quicker than the person.
    """
    desk.cloud.faults = ["lost after create"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=_UNSEEN_S)
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    ask_cancel(desk.context, job)
    desk.finish(job)
    if daemon_leaves:
        desk.engine.close()
    desk.clock.advance(_UNSEEN_S)
    return job


def unknown(desk: Desk) -> str:
    """A job that waits for a person, for nobody could find its run; it shows itself now."""
    desk.cloud.faults = ["lost before create", "lost after create"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=300)
    desk.cloud.training = timedelta(days=1)
    job = desk.submit()
    desk.run_until(lambda: desk.job(job).state == "unknown")
    desk.clock.advance(200)
    return job


def swept(desk: Desk) -> int:
    return sweep(desk.context, desk.context.open_provider(NAME))


def events(desk: Desk, job: str) -> list[str]:
    return [event.event for event in desk.context.store.events_of(job)]


def test_a_run_that_no_job_knows_is_listed_with_its_age(desk: Desk) -> None:
    run = stray(desk)
    desk.clock.advance(30)

    [found] = reaped(desk).strays

    assert (found.key, found.remote_id, found.account, found.job) == (run.key, run.id, "acct", None)
    assert (found.state, found.since, found.why) == ("running", run.created_at, "no job of this database knows it")


def test_listing_touches_nothing(desk: Desk) -> None:
    stray(desk)

    report = reaped(desk)

    assert (report.left, desk.cloud.asked["cancel"], desk.cloud.asked["release"]) == (1, 0, 0)
    assert desk.context.store.ledger() == []


def test_yes_leaves_nothing_and_books_it(desk: Desk) -> None:
    run = stray(desk)
    desk.clock.advance(30)

    report = reaped(desk, yes=True)

    assert (report.left, run.released, run.state) == (0, True, RunState.STOPPED)
    assert [str(one.spend) for one in report.strays] == ["0.03 USD"]
    [entry] = desk.context.store.ledger()
    assert (entry.run_key, entry.job_id, entry.amount_micro) == (run.key, None, 30_000)


def test_reaping_twice_books_once(desk: Desk) -> None:
    stray(desk)
    desk.clock.advance(30)

    reaped(desk, yes=True)

    assert list(reaped(desk, yes=True).strays) == []
    assert desk.spent() == 30_000


def test_a_machine_whose_training_has_ended_is_a_stray_until_it_is_gone(desk: Desk) -> None:
    run = stray(desk)
    desk.clock.advance(90)

    [found] = reaped(desk).strays

    assert (found.state, found.why) == ("succeeded", "it has ended, and nobody has proven that what it rented is gone")
    assert reaped(desk, yes=True).left == 0
    assert run.released


def test_what_will_not_end_is_said_and_stays(desk: Desk) -> None:
    desk.cloud.is_stubborn = True
    desk.cloud.training = timedelta(days=9)
    stray(desk)

    report = reaped(desk, yes=True)

    assert report.left == 1
    assert report.strays[0].left == "it was asked to stop and still lives after 120 s"
    assert desk.spent() == 0


def test_a_provider_that_fails_half_way_is_said_on_the_stray(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ProviderUnavailableError("connection refused", provider=NAME, operation="cancel")

    stray(desk)
    monkeypatch.setattr(desk.context.open_provider(NAME), "cancel", refuse)

    assert reaped(desk, yes=True).strays[0].left == "connection refused"


@pytest.mark.parametrize("careless", [False, True])
def test_the_runs_of_another_installation_on_the_account_are_never_touched(desk: Desk, *, careless: bool) -> None:
    desk.cloud.is_careless = careless
    theirs, foreign = stray(desk, THEIRS), desk.cloud.create("production-database")

    report = reaped(desk, yes=True)

    assert list(report.strays) == []
    assert [run.state for run in (theirs, foreign)] == [RunState.RUNNING, RunState.RUNNING]


def test_a_run_with_an_open_row_is_never_touched(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))

    assert list(reaped(desk, yes=True).strays) == []
    assert desk.finish(job).state == "succeeded"


def test_a_machine_that_is_kept_for_a_person_is_never_touched(desk: Desk) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit())

    assert (job.reason, list(reaped(desk, yes=True).strays)) == ("artifact", [])
    assert not desk.cloud.runs[0].released


def test_a_stray_under_a_closed_row_is_booked_with_its_job(desk: Desk) -> None:
    job, late = late_duplicate(desk)
    desk.clock.advance(30)

    report = reaped(desk, yes=True)

    assert [(one.job, one.remote_id, one.is_gone) for one in report.strays] == [(job, late.id, True)]
    assert [entry.amount_micro for entry in desk.context.store.ledger_of(job)] == [60_000, 30_000]
    assert events(desk, job)[-1] == "reaped"


def test_a_provider_without_credentials_is_skipped_unless_it_was_named(desk: Desk) -> None:
    def closed(_name: str) -> Provider:
        raise CredentialsError("CLOUD_KEY is not set", hint="set it")

    context = replace(desk.context, open_provider=closed)

    [skipped] = reap(context, [NAME], is_asked=False, yes=False).skipped
    assert (skipped.provider, skipped.why, skipped.is_configured) == (NAME, "CLOUD_KEY is not set", False)
    with pytest.raises(CredentialsError):
        reap(context, [NAME], is_asked=True, yes=False)


def test_old_rows_that_no_job_names_are_listed_and_deleted(desk: Desk) -> None:
    job = desk.job(desk.submit())
    gone, fresh = (desk.context.home.datasets / name for name in ("gone", "fresh"))
    old_bundle = desk.context.home.datasets / "rows" / "bundle-0000"
    bundle = desk.context.home.datasets / "rows" / f"bundle-{job.plan_hash[:16]}"
    old = (desk.clock.now() - timedelta(days=31)).timestamp()
    for folder in (gone, old_bundle, bundle, fresh):
        folder.mkdir(parents=True)
    for folder in (gone, old_bundle, bundle, bundle.parent):
        os.utime(folder, (old, old))
    os.utime(fresh, (desk.clock.now().timestamp(),) * 2)

    assert [one.path for one in reaped(desk).leftovers] == [gone, old_bundle]
    assert gone.exists()
    assert all(one.is_gone for one in reaped(desk, yes=True).leftovers)
    assert [folder.exists() for folder in (gone, old_bundle, bundle, fresh)] == [False, False, True, True]


def test_rows_of_an_open_job_stay_although_another_host_names_their_folder_otherwise(desk: Desk) -> None:
    job = desk.job(desk.submit())
    rows = desk.context.home.datasets / "rows"
    os.utime(rows, ((desk.clock.now() - timedelta(days=31)).timestamp(),) * 2)

    desk.context.change_job(job, dataset="/mnt/shared/datasets/rows")

    assert list(reaped(desk, yes=True).leftovers) == []
    assert rows.exists()


def test_a_late_duplicate_is_cancelled_released_and_booked_by_the_engine(desk: Desk) -> None:
    job, late = late_duplicate(desk)

    desk.run_until(lambda: late.released and len(desk.context.store.ledger()) == 2)

    assert (desk.job(job).state, late.state) == ("succeeded", RunState.STOPPED)
    assert [run.purpose for run in desk.runs(job)] == ["train", "duplicate"]
    assert "duplicate found" in events(desk, job)


def test_a_second_sweep_adds_nothing(desk: Desk) -> None:
    job, _ = late_duplicate(desk)

    assert [swept(desk), swept(desk)] == [1, 0]
    assert len(desk.runs(job)) == 2


def test_a_run_that_lives_again_after_its_row_was_closed_is_found(desk: Desk) -> None:
    job = desk.finish(desk.submit())
    desk.cloud.training = timedelta(days=1)
    back = desk.cloud.runs[0]
    back.state, back.ended_at, back.released, back.created_at = RunState.RUNNING, None, False, desk.clock.now()

    assert [swept(desk), swept(desk)] == [1, 0]
    desk.run_until(lambda: back.released)
    assert desk.runs(job.id)[1].remote_id == back.id


def test_a_second_run_beside_one_that_trains_is_found_and_the_first_goes_on(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs) and desk.runs(job)[0].remote_id is not None)
    second = desk.cloud.create(desk.runs(job)[0].key)

    assert swept(desk) == 1
    assert desk.finish(job).state == "succeeded"
    assert second.state is RunState.STOPPED


def test_a_run_that_its_provider_names_in_two_ways_is_not_stopped(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs) and desk.runs(job)[0].remote_id is not None)
    [run] = desk.runs(job)
    desk.context.change_run(run, remote_id="the-same-under-another-name")

    assert swept(desk) == 0


@pytest.mark.parametrize("installation", [OURS, THEIRS])
def test_a_sweep_leaves_what_has_no_row_to_a_person(desk: Desk, installation: str) -> None:
    run = stray(desk, installation)

    assert swept(desk) == 0
    assert run.state is RunState.RUNNING


def test_a_new_engine_sweeps_at_its_start_and_every_ten_minutes(desk: Desk) -> None:
    desk.finish(desk.submit())
    asked = desk.cloud.asked["owned"]

    for _ in range(12):
        desk.clock.advance(110)
        desk.settle()

    assert desk.cloud.asked["owned"] - asked == 2


def test_a_create_that_showed_itself_late_and_has_ended_is_released_and_booked_by_the_engine(desk: Desk) -> None:
    job = closed_unseen(desk, daemon_leaves=False)

    desk.run_until(lambda: desk.cloud.runs[0].released and bool(desk.spent()))

    assert [entry.amount_micro for entry in desk.context.store.ledger_of(job)] == [60_000]
    assert (desk.job(job).state, swept(desk)) == ("cancelled", 0)


def test_a_create_that_showed_itself_late_and_has_ended_is_listed_and_reaped_once(desk: Desk) -> None:
    job = closed_unseen(desk)

    [found] = reaped(desk).strays
    [gone] = reaped(desk, yes=True).strays

    assert (found.state, found.job, "only after its row was closed" in found.why) == ("succeeded", job, True)
    assert (gone.is_gone, str(gone.spend), desk.cloud.runs[0].released) == (True, "0.06 USD", True)


def test_what_was_reaped_is_not_swept_again_although_it_is_still_shown(desk: Desk) -> None:
    job = closed_unseen(desk)
    reaped(desk, yes=True)
    desk.cloud.runs[0].released = False

    assert (swept(desk), list(reaped(desk).strays), len(desk.runs(job))) == (0, [], 1)


def test_a_run_closed_on_a_persons_word_that_has_ended_is_booked(desk: Desk) -> None:
    job = unknown(desk)
    ask_retry(desk.context, job)
    desk.cloud.end(desk.cloud.runs[0], RunState.FAILED)

    desk.run_until(lambda: desk.cloud.runs[0].released)

    assert [run.purpose for run in desk.runs(job)][:2] == ["train", "train"]
    assert "duplicate" in [run.purpose for run in desk.runs(job)]


def test_a_persons_word_that_a_run_does_not_exist_is_in_the_history(desk: Desk) -> None:
    job = unknown(desk)

    ask_retry(desk.context, job)

    told = [event.detail for event in desk.context.store.events_of(job) if event.event == "not created"]
    assert told == ["a person says that it does not exist"]


def test_an_unknown_run_that_shows_up_is_its_jobs_again(desk: Desk) -> None:
    job = unknown(desk)

    desk.run_until(lambda: desk.job(job).state == "running")

    assert (len(desk.cloud.runs), events(desk, job).count("showed up")) == (1, 1)


def test_an_unknown_run_that_shows_up_is_listed_as_what_it_is(desk: Desk) -> None:
    job = unknown(desk)

    [found] = reaped(desk).strays

    assert (found.job, found.state) == (job, "running")
    assert found.why.startswith("its job could not find it and waits")
    assert desk.job(job).state == "unknown"


def test_reaping_gives_an_unknown_run_back_to_its_job(desk: Desk) -> None:
    job = unknown(desk)

    [left] = reaped(desk, yes=True).strays

    assert (left.left, left.is_gone) == (f"it is its job's again; `ftorch wait {job}` follows it", False)
    assert (desk.job(job).state, desk.cloud.runs[0].state) == ("submitting", RunState.RUNNING)


def test_an_unknown_run_that_showed_up_and_is_not_found_is_not_sent_again(desk: Desk) -> None:
    job = unknown(desk)
    desk.context.change_run(desk.runs(job)[0], sends=1)
    desk.cloud.hidden_until = desk.clock.now() + timedelta(hours=1)

    swept(desk)
    desk.run_until(lambda: desk.job(job).state == "unknown")

    assert (desk.runs(job)[0].sends, len(desk.cloud.runs)) == (1, 1)


def test_a_run_that_showed_up_and_was_closed_all_the_same_is_booked_when_it_shows_up_again(desk: Desk) -> None:
    job = unknown(desk)
    desk.cloud.hidden_until = desk.clock.now() + timedelta(hours=1)
    swept(desk)
    ask_cancel(desk.context, job)
    desk.finish(job)
    desk.cloud.end(desk.cloud.runs[0], RunState.FAILED)

    desk.run_until(lambda: desk.cloud.runs[0].released and bool(desk.spent()))

    assert desk.job(job).state == "cancelled"


@pytest.mark.parametrize("key", ["production-database", "ft-abc123-uuuuuuuuuuuuuuuuuuuuuuuuuu", "ft-abc123-short"])
def test_only_our_keys_tell_when_they_were_made(key: str) -> None:
    assert made_at(key) is None
