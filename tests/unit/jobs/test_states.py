from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.jobs.decide import FETCH_TRIES, Policy, decide, may_send_again
from ftorch.jobs.states import TERMINAL, Decision, JobReason, JobState, StepKind
from ftorch.manifest.schema import Retry
from ftorch.providers.base import ENDED, Capabilities, Find, RunState
from ftorch.providers.local.capabilities import CAPABILITIES
from ftorch.store import JobRow, RunRow
from unit.jobs.rows import NOW, ended, job, run

CLOUD = replace(CAPABILITIES, client_chosen_id=False, create_timeout_s=60.0, visibility_lag_s=30.0, settle_lag_s=3600.0)


def decided(one: JobRow, *runs: RunRow, retry: Retry | None = None) -> Decision:
    return decide(one, runs, NOW, lambda: Policy(retry or Retry(), (one.provider,)), lambda _: CLOUD)


def kinds(decision: Decision) -> list[StepKind]:
    return [step.kind for step in decision.steps]


def test_a_new_job_is_staged_first() -> None:
    assert (decided(job()).state, kinds(decided(job()))) == (JobState.STAGING, [StepKind.STAGE])


def test_a_staged_job_opens_a_run() -> None:
    assert kinds(decided(job(staged="{}"))) == [StepKind.OPEN_RUN]


def test_a_job_cancelled_before_its_first_run_is_cancelled_at_once() -> None:
    decision = decided(job(desired="cancelled"))

    assert (decision.state, decision.reason, decision.steps) == (JobState.CANCELLED, JobReason.CANCELLED_BY_USER, ())


@pytest.mark.parametrize(
    ("one_run", "step"),
    [
        (run(), StepKind.SUBMIT),
        (run(sent_at=NOW), StepKind.FIND),
        (run(sent_at=NOW, state="provisioned"), StepKind.START),
        (ended("succeeded", released_at=None, charged_at=None, settled_at=None), StepKind.FETCH),
        (ended("succeeded", fetched_at=NOW, released_at=None, charged_at=None), StepKind.RELEASE),
        (ended("succeeded", fetched_at=NOW, charged_at=None), StepKind.CHARGE),
        (ended("failed", released_at=None), StepKind.RELEASE),
        (ended("failed", ended_at=NOW - timedelta(hours=2), settled_at=None), StepKind.SETTLE),
    ],
)
def test_a_run_is_taken_one_step_at_a_time(one_run: RunRow, step: StepKind) -> None:
    assert step in kinds(decided(job(staged="{}"), one_run))


@pytest.mark.parametrize(
    ("one_run", "step"),
    [
        (run(), StepKind.ABANDON),
        (run(sent_at=NOW), StepKind.FIND),
        (run(sent_at=NOW, state="running"), StepKind.CANCEL),
        (run(sent_at=NOW, state="provisioned"), StepKind.CANCEL),
    ],
)
def test_an_unwanted_run_is_found_and_stopped(one_run: RunRow, step: StepKind) -> None:
    assert kinds(decided(job(staged="{}", desired="cancelled"), one_run)) == [step]


def test_cancel_is_not_asked_again_at_once() -> None:
    asked = run(sent_at=NOW, state="running", cancel_requested_at=NOW - timedelta(seconds=5))

    assert decided(job(desired="cancelled"), asked).steps == ()


def test_a_price_that_may_change_is_not_settled_yet() -> None:
    fresh = ended("failed", settled_at=None)

    assert decided(job(), fresh).steps == ()


def test_a_job_has_not_succeeded_before_its_spend_is_known() -> None:
    uncharged = ended("succeeded", fetched_at=NOW, charged_at=None)

    assert decided(job(adapter="here"), uncharged).state is JobState.FETCHING


def test_a_job_succeeds_with_its_adapter_home_and_its_spend_known() -> None:
    done = ended("succeeded", fetched_at=NOW)

    assert decided(job(adapter="here"), done).state is JobState.SUCCEEDED


def test_a_preempted_run_is_followed_by_a_new_one() -> None:
    gone = ended("stopped", retry_event="preempted", started_at=NOW)

    assert StepKind.OPEN_RUN in kinds(decided(job(staged="{}"), gone))


def test_a_run_that_follows_is_staged_again_where_what_was_staged_is_gone() -> None:
    gone = ended("stopped", retry_event="preempted", started_at=NOW)

    assert kinds(decided(job(staged=None), gone)) == [StepKind.STAGE]


def test_a_run_that_never_began_is_followed_after_a_pause() -> None:
    never_began = ended("failed", retry_event="capacity")

    assert kinds(decided(job(), never_began)) == []
    assert decided(job(), never_began).state is JobState.SUBMITTING


def test_a_person_who_asks_for_a_run_does_not_wait_for_the_pause() -> None:
    never_began = ended("failed", retry_event="capacity")

    assert StepKind.OPEN_RUN in kinds(decided(job(granted=2, staged="{}"), never_began))


def test_no_new_run_starts_before_the_old_one_is_released() -> None:
    held = ended("stopped", retry_event="preempted", released_at=None)

    assert kinds(decided(job(), held)) == [StepKind.RELEASE]


def test_runs_end_at_the_manifests_limit() -> None:
    gone = ended("stopped", retry_event="preempted")

    decision = decided(job(), gone, replace(gone, number=2), retry=Retry(max_runs=2))

    assert (decision.state, decision.reason) == (JobState.FAILED, JobReason.PREEMPTED)


def test_a_persons_retry_goes_beyond_the_limit() -> None:
    decision = decided(job(granted=2, staged="{}"), ended("failed"))

    assert StepKind.OPEN_RUN in kinds(decision)


@pytest.mark.parametrize(
    ("one_run", "state", "reason"),
    [
        (ended("failed"), JobState.FAILED, JobReason.TRAINING_FAILED),
        (ended("timed_out"), JobState.FAILED, JobReason.DEADLINE),
        (ended("absent"), JobState.LOST, JobReason.RUN_LOST),
        (ended("stopped"), JobState.FAILED, JobReason.PREEMPTED),
    ],
)
def test_a_bad_end_names_its_reason(one_run: RunRow, state: JobState, reason: JobReason) -> None:
    decision = decided(job(), one_run)

    assert (decision.state, decision.reason) == (state, reason)


def test_an_adapter_that_cannot_be_fetched_is_not_released() -> None:
    stuck = ended("succeeded", released_at=None, charged_at=None, bad_fetches=FETCH_TRIES)

    decision = decided(job(), stuck)

    assert (decision.state, decision.reason, decision.steps) == (JobState.FAILED, JobReason.ARTIFACT, ())


def test_a_create_that_nobody_can_find_waits_for_a_person() -> None:
    unknown = run(sent_at=NOW, detail="submit_unknown")

    decision = decided(job(), unknown)

    assert (decision.state, decision.reason, decision.steps) == (JobState.UNKNOWN, JobReason.SUBMIT_UNKNOWN, ())


def test_a_duplicate_is_cancelled_while_its_job_goes_on() -> None:
    ours = run(sent_at=NOW, state="running")
    twin = run(key="ft-x/2", number=2001, purpose="duplicate", sent_at=NOW, state="running")

    decision = decided(job(), ours, twin)

    assert decision.state is JobState.RUNNING
    assert [(step.kind, step.run) for step in decision.steps] == [(StepKind.CANCEL, twin)]


def test_a_live_run_under_a_closed_job_is_still_worked_on() -> None:
    closed = job(state="cancelled", reason="cancelled_by_user", desired="cancelled", ended_at=NOW)

    assert kinds(decided(closed, run(sent_at=NOW, state="running"))) == [StepKind.CANCEL]


def test_nothing_is_sent_again_before_the_quiet_time_is_over() -> None:
    sent = run(sent_at=NOW, send_before=NOW, sends=1)

    assert not may_send_again(sent, CLOUD, is_quiet=True, is_search_proven=True)
    assert may_send_again(sent, CLOUD, is_quiet=False, is_search_proven=True)


def test_nothing_is_sent_a_third_time() -> None:
    sent = run(sent_at=NOW, send_before=NOW, sends=2)

    assert not may_send_again(sent, CLOUD, is_quiet=False, is_search_proven=True)


def test_nothing_is_sent_again_where_nobody_can_look() -> None:
    blind: Capabilities = replace(CLOUD, find=Find.NONE)
    sent = run(sent_at=NOW, send_before=NOW, sends=1)

    assert not may_send_again(sent, blind, is_quiet=False, is_search_proven=True)


moments = st.sampled_from([None, NOW])
run_rows = st.builds(
    lambda state, sent, over, fetched, released, charged, event: run(
        state=state,
        sent_at=sent,
        ended_at=NOW if over else None,
        fetched_at=fetched,
        released_at=released,
        charged_at=charged,
        retry_event=event,
    ),
    st.sampled_from([*RunState]),
    st.just(NOW),
    st.booleans(),
    moments,
    moments,
    moments,
    st.sampled_from([None, "preempted"]),
).filter(lambda row: (row.ended_at is not None) == (row.state in ENDED))


@given(run_rows, st.sampled_from([*JobState]), st.sampled_from(["run", "cancelled"]))
def test_no_decision_leaves_a_terminal_state(row: RunRow, state: JobState, desired: str) -> None:
    decision = decided(job(state=state, desired=desired), row)

    assert state not in TERMINAL or decision.state is state


@given(run_rows, st.sampled_from(["run", "cancelled"]))
def test_a_job_never_ends_while_a_run_of_it_is_open(row: RunRow, desired: str) -> None:
    decision = decided(job(desired=desired), row)

    assert not (decision.state in TERMINAL and row.ended_at is None)
