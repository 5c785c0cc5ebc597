"""What the provider `local` reads out of a run's folder when things went wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ftorch.manifest.schema import RetryEvent
from ftorch.providers import output
from ftorch.providers.base import RunState

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING = output.parse("", None, None)


def test_a_trainer_that_died_before_its_first_event_is_not_waited_for() -> None:
    seen = output.observation(
        NOTHING, is_alive=False, is_cancelled=False, now=NOW, was_started=True, said="No space left on device"
    )

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, RetryEvent.PREEMPTED)
    assert "No space left on device" in seen.detail
    assert seen.billable_from is None


@pytest.mark.parametrize(("is_alive", "state"), [(True, RunState.RUNNING), (False, RunState.PROVISIONED)])
def test_a_run_that_nobody_started_waits(*, is_alive: bool, state: RunState) -> None:
    assert output.observation(NOTHING, is_alive=is_alive, is_cancelled=False, now=NOW).state is state


def test_a_cancelled_run_that_died_before_its_first_event_is_cancelled() -> None:
    seen = output.observation(NOTHING, is_alive=False, is_cancelled=True, now=NOW, was_started=True)

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, None)
