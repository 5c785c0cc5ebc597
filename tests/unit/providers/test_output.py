from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import ENDED, RunState
from ftorch.providers.output import Reading, observation, parse

NOW = datetime(2026, 11, 1, 12, 10, tzinfo=UTC)


def at(minute: int) -> str:
    return f"2026-11-01T12:{minute:02}:00Z"


def event(minute: int, word: str, **fields: object) -> str:
    return json.dumps({"t": at(minute), "event": word, **fields}) + "\n"


STARTED = event(0, "started", pid=1)
BEAT = json.dumps({"t": at(3), "phase": "train", "step": 5, "total_steps": 20, "loss": 1.25, "seconds_per_step": 2.0})


def seen(reading: Reading, *, is_alive: bool = False, is_cancelled: bool = False) -> RunState:
    return observation(reading, is_alive=is_alive, is_cancelled=is_cancelled, now=NOW).state


@pytest.mark.parametrize(
    ("events", "alive", "cancelled", "state"),
    [
        ("", False, False, RunState.PROVISIONED),
        ("", True, False, RunState.RUNNING),
        ("", False, True, RunState.STOPPED),
        (STARTED, True, False, RunState.RUNNING),
        (STARTED, False, False, RunState.STOPPED),
        (STARTED, False, True, RunState.STOPPED),
        (STARTED + event(2, "failed", type="OutOfMemory", message="no", exit_code=70), False, False, RunState.FAILED),
        (STARTED + event(2, "interrupted", reason="deadline"), False, False, RunState.TIMED_OUT),
        (STARTED + event(2, "interrupted", reason="signal"), False, False, RunState.STOPPED),
    ],
)
def test_the_folder_and_the_process_say_together_where_a_run_is(
    events: str, alive: bool, cancelled: bool, state: RunState
) -> None:
    assert seen(parse(events, None, None), is_alive=alive, is_cancelled=cancelled) is state


def test_a_result_is_success_even_while_the_process_winds_down() -> None:
    assert seen(parse(STARTED, BEAT, '{"status": "succeeded"}'), is_alive=True) is RunState.SUCCEEDED


def test_a_killed_run_may_be_retried_and_a_cancelled_one_not() -> None:
    killed = observation(parse(STARTED, BEAT, None), is_alive=False, is_cancelled=False, now=NOW)
    cancelled = observation(parse(STARTED, BEAT, None), is_alive=False, is_cancelled=True, now=NOW)

    assert (killed.retry_event, cancelled.retry_event) == (RetryEvent.PREEMPTED, None)


def test_a_killed_run_is_paid_until_its_last_sign_of_life() -> None:
    killed = observation(parse(STARTED, BEAT, None), is_alive=False, is_cancelled=False, now=NOW)

    assert killed.billable_from == datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    assert killed.billable_to == datetime(2026, 11, 1, 12, 3, tzinfo=UTC)


@pytest.mark.parametrize("word", ["succeeded", "failed", "interrupted"])
def test_the_last_beat_of_a_process_that_leaves_does_not_move_the_end_it_told(word: str) -> None:
    ended = observation(parse(STARTED + event(2, word), BEAT, None), is_alive=False, is_cancelled=False, now=NOW)

    assert ended.billable_to == datetime(2026, 11, 1, 12, 2, tzinfo=UTC)


def test_a_failed_run_names_its_error_and_is_not_retried() -> None:
    text = STARTED + event(2, "failed", type="OutOfMemory", message="lower max_length", exit_code=70)

    failed = observation(parse(text, None, None), is_alive=False, is_cancelled=False, now=NOW)

    assert (failed.detail, failed.exit_code, failed.retry_event) == ("OutOfMemory: lower max_length", 70, None)


def test_progress_has_the_loss_and_the_time_left() -> None:
    running = observation(parse(STARTED, BEAT, None), is_alive=True, is_cancelled=False, now=NOW)

    assert running.progress is not None
    assert (running.progress.step, running.progress.total_steps) == (5, 20)
    assert (running.progress.loss, running.progress.seconds_left) == ("1.2500", 30)


@pytest.mark.parametrize("cut", range(1, len(STARTED)))
def test_a_half_last_line_is_not_there_yet(cut: int) -> None:
    reading = parse(STARTED + event(2, "interrupted", reason="deadline")[:cut], BEAT[:cut], None)

    assert reading.started_at is not None
    assert seen(reading, is_alive=True) not in ENDED
