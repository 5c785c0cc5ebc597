from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunState
from ftorch.providers.ray.api import Job
from ftorch.providers.ray.readings import absent, observation
from ftorch.providers.ray_jobs.markers import Marked
from ftorch.providers.ray_jobs.status import Status

_NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


def _job(status: str, **more: Any) -> Job:
    return Job(submission_id="ft-1", status=status, **more)


def _told(*events: dict[str, Any], result: object = None) -> Status:
    began = {"t": "2026-11-28T02:50:00Z", "event": "started"}
    told = {"t": "2026-11-28T02:55:00Z", "started_at": "2026-11-28T02:49:00Z", "ended_at": None, "exit_code": None}
    more = {"resume_from": None, "events": [began, *events], "heartbeat": None, "result": result}
    found = Status.parse(json.dumps({**told, **more}))
    assert found is not None
    return found


def _event(name: str, **more: Any) -> dict[str, Any]:
    return {"t": "2026-11-28T02:54:00Z", "event": name, **more}


def test_waiting_in_the_cluster_costs_nothing_although_ray_counts_from_the_submit() -> None:
    seen = observation(_job("PENDING", start_time=1_795_834_104_672), None, _NOW)

    assert (seen.state, seen.billable_from) == (RunState.QUEUED, None)


def test_the_rate_is_read_back_from_the_job() -> None:
    seen = observation(_job("PENDING", metadata={"ftorch_rate": "3.60"}), None, _NOW)

    assert seen.rate == Decimal("3.60")


@pytest.mark.parametrize(
    ("kind", "state", "event"),
    [
        ("JOB_SUPERVISOR_ACTOR_DIED", RunState.STOPPED, RetryEvent.PREEMPTED),
        ("JOB_SUPERVISOR_ACTOR_START_TIMEOUT", RunState.FAILED, RetryEvent.CAPACITY),
        ("JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", RunState.FAILED, RetryEvent.CAPACITY),
        ("RUNTIME_ENV_SETUP_FAILURE", RunState.FAILED, RetryEvent.PROVIDER_ERROR),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", RunState.FAILED, None),
    ],
)
def test_a_job_that_left_no_word_is_told_by_rays(kind: str, state: RunState, event: RetryEvent | None) -> None:
    seen = observation(_job("FAILED", error_type=kind, message="why\n it ended"), None, _NOW)

    assert (seen.state, seen.retry_event) == (state, event)
    assert seen.detail.endswith("why it ended")


_BEGAN, _ENDED = _NOW - timedelta(minutes=9), _NOW - timedelta(minutes=2)


def test_without_a_folder_the_log_says_for_how_long_a_job_ran() -> None:
    seen = observation(_job("SUCCEEDED", driver_exit_code=0), None, _NOW, said=Marked(_BEGAN, _ENDED, 0))

    assert (seen.state, seen.billable_from, seen.billable_to) == (RunState.SUCCEEDED, _BEGAN, _ENDED)


def test_a_job_whose_log_breaks_off_was_killed_and_ended_when_ray_says_so() -> None:
    ended_ms = int(_ENDED.timestamp() * 1000)

    seen = observation(_job("FAILED", end_time=ended_ms, driver_exit_code=137), None, _NOW, said=Marked(_BEGAN))

    assert (seen.state, seen.retry_event, seen.exit_code) == (RunState.STOPPED, RetryEvent.PREEMPTED, 137)
    assert (seen.billable_from, seen.billable_to) == (_BEGAN, _ENDED)


def test_a_job_whose_log_says_its_end_has_failed_by_its_own_fault() -> None:
    seen = observation(_job("FAILED"), None, _NOW, said=Marked(_BEGAN, _ENDED, 65))

    assert (seen.state, seen.retry_event, seen.exit_code) == (RunState.FAILED, None, 65)


def test_a_cancelled_job_whose_log_breaks_off_is_not_started_again() -> None:
    seen = observation(_job("STOPPED"), None, _NOW, said=Marked(_BEGAN))

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, None)


def test_an_end_by_a_clock_that_is_ahead_is_not_after_now() -> None:
    seen = observation(_job("SUCCEEDED"), None, _NOW, said=Marked(_BEGAN, _NOW + timedelta(minutes=3), 0))

    assert seen.billable_to == _NOW


def test_a_run_that_is_known_to_train_is_not_said_to_begin() -> None:
    seen = observation(_job("RUNNING"), None, _NOW, began=_BEGAN)

    assert (seen.state, seen.billable_from, seen.detail) == (RunState.RUNNING, _BEGAN, "")


def test_a_trainer_that_says_why_it_failed_is_believed() -> None:
    told = _told(_event("failed", type="DataError", message="train.jsonl:3: no rows", exit_code=65))

    seen = observation(_job("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=65), told, _NOW)

    assert (seen.state, seen.detail, seen.exit_code) == (RunState.FAILED, "DataError: train.jsonl:3: no rows", 65)


def test_a_driver_that_was_killed_may_be_started_again() -> None:
    seen = observation(_job("FAILED", driver_exit_code=137), _told(), _NOW)

    assert (seen.state, seen.retry_event, seen.exit_code) == (RunState.STOPPED, RetryEvent.PREEMPTED, 137)


def test_a_run_that_had_finished_when_it_was_stopped_has_succeeded() -> None:
    seen = observation(_job("STOPPED"), _told(_event("succeeded"), result={"trained_tokens": 5}), _NOW)

    assert (seen.state, seen.trained_tokens) == (RunState.SUCCEEDED, 5)


def test_a_deadline_that_the_trainer_kept_is_no_failure() -> None:
    seen = observation(_job("FAILED", driver_exit_code=75), _told(_event("interrupted", reason="deadline")), _NOW)

    assert seen.state is RunState.TIMED_OUT


def test_a_stopped_run_is_not_started_again() -> None:
    seen = observation(_job("STOPPED"), _told(_event("interrupted", reason="signal")), _NOW)

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, None)


def test_a_good_end_without_a_result_is_a_failure() -> None:
    seen = observation(_job("SUCCEEDED", driver_exit_code=0), _told(), _NOW)

    assert (seen.state, seen.detail) == (RunState.FAILED, "the job ended well, and left no result")


def test_another_session_is_named_and_the_manifest_may_go_on() -> None:
    gone, deleted = absent("session_2", "session_1", _NOW), absent("session_2", "session_2", _NOW)

    assert (gone.state, gone.retry_event) == (RunState.ABSENT, RetryEvent.PREEMPTED)
    assert "session_1, now there is session_2" in gone.detail
    assert (deleted.state, deleted.retry_event) == (RunState.ABSENT, None)
