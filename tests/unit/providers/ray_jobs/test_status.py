from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunState
from ftorch.providers.ray_jobs import status
from ftorch.providers.ray_jobs.status import Status

_START = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
_NOW = _START + timedelta(minutes=5)


def _at(seconds: float) -> str:
    return (_START + timedelta(seconds=seconds)).isoformat()


def _status(**changes: Any) -> Status:
    told = {
        "t": _at(40),
        "started_at": _at(0),
        "ended_at": None,
        "exit_code": None,
        "resume_from": None,
        "events": [{"t": _at(10), "event": "started"}],
        "heartbeat": {"t": _at(40), "phase": "train", "step": 3, "total_steps": 12},
        "result": None,
    }
    found = Status.parse(json.dumps({**told, **changes}))
    assert found is not None
    return found


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"t": 1}', b"\xff"])
def test_what_cannot_be_read_is_not_there(text: str | bytes | None) -> None:
    assert Status.parse(text) is None


def test_a_running_job_counts_from_the_runners_first_moment() -> None:
    seen = status.alive(_status(), _NOW)

    assert (seen.state, seen.billable_from) == (RunState.RUNNING, _START)
    assert seen.progress is not None
    assert (seen.progress.step, seen.progress.total_steps) == (3, 12)


def test_a_running_job_that_has_told_nothing_yet_begins() -> None:
    assert status.alive(None, _NOW).state is RunState.RUNNING


def test_a_job_whose_adapter_is_done_and_that_still_runs_is_not_over() -> None:
    beat = {"t": _at(40), "phase": "save", "step": 12, "total_steps": 12}

    seen = status.alive(_status(heartbeat=beat, result={"trained_tokens": 500}), _NOW)

    assert (seen.state, seen.billable_to) == (RunState.FINALIZING, None)


def test_a_finished_job_has_its_tokens_and_its_end() -> None:
    seen = status.ended(
        _status(ended_at=_at(60), exit_code=0, result={"trained_tokens": 500}), is_cancelled=False, now=_NOW
    )

    assert (seen.state, seen.trained_tokens, seen.exit_code) == (RunState.SUCCEEDED, 500, 0)
    assert (seen.billable_from, seen.billable_to) == (_START, _START + timedelta(seconds=60))


def test_a_failed_job_says_why() -> None:
    began = {"t": _at(1), "event": "started"}
    failed = {"t": _at(50), "event": "failed", "type": "setup", "message": "no trl", "exit_code": 70}

    seen = status.ended(_status(events=[began, failed], ended_at=_at(51), exit_code=70), is_cancelled=False, now=_NOW)

    assert (seen.state, seen.detail, seen.exit_code) == (RunState.FAILED, "setup: no trl", 70)


def test_a_job_that_was_killed_ended_when_it_was_last_heard_of() -> None:
    seen = status.ended(_status(), is_cancelled=False, now=_NOW)

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, RetryEvent.PREEMPTED)
    assert seen.billable_to == _START + timedelta(seconds=40)


def test_a_job_that_was_cancelled_is_not_retried() -> None:
    assert status.ended(_status(), is_cancelled=True, now=_NOW).retry_event is None


def test_an_end_that_lies_ahead_of_our_clock_is_now() -> None:
    seen = status.ended(_status(ended_at=_at(900)), is_cancelled=False, now=_NOW)

    assert seen.billable_to == _NOW
