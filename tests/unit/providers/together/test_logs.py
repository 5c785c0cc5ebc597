from __future__ import annotations

from collections.abc import Sequence

import pytest

from ftorch.providers.together.api import Event
from ftorch.providers.together.logs import Cursor, Row, page

EVENTS = [
    Event(type="job_pending", message="Fine tune request created"),
    Event(type="job_start", message="Job started"),
    Event(type="training_start", message="Training started", total_steps=4),
    Event(type="epoch_complete", message="Epoch completed, at step 2", step=2),
    Event(type="EPOCH_COMPLETE", message="Epoch completed, at step 4", step=4),
    Event(type="training_complete", message="Training completed"),
    Event(type="job_complete", message="Job finished"),
]
ROWS: list[Row] = [
    {"train/loss": 2.0, "train/global_step": 1},
    {"train/loss": 1.5, "train/global_step": 2},
    {"eval/loss": 1.6, "eval/global_step": 2},
    {"train/loss": 1.25, "train/global_step": 3, "train/learning_rate": 1e-4},
    {"train/loss": 1.0, "train/global_step": 4},
]
WHOLE = [
    "job_start: Job started",
    "training_start: Training started",
    "step 1/4 loss 2.0000",
    "step 2/4 loss 1.5000",
    "step 2/4 eval loss 1.6000",
    "epoch_complete: Epoch completed, at step 2",
    "step 3/4 loss 1.2500",
    "step 4/4 loss 1.0000",
    "epoch_complete: Epoch completed, at step 4",
    "training_complete: Training completed",
    "job_complete: Job finished",
]


def read(events: Sequence[Event], rows: Sequence[Row], cursor: Cursor) -> tuple[list[str], Cursor]:
    """As Together answers: all events, and the rows from a step on."""
    wanted = [row for row in rows if (row.get("train/global_step") or row.get("eval/global_step") or 0) >= cursor.step]
    lines, after = page(events, wanted, cursor)
    return lines, Cursor.parse(after.text)


def test_losses_stand_where_their_step_was_taken() -> None:
    assert read(EVENTS, ROWS, Cursor())[0] == WHOLE


@pytest.mark.parametrize("events", range(len(EVENTS) + 1))
def test_whoever_follows_reads_the_same_as_whoever_comes_late(events: int) -> None:
    steps = {0: 0, 1: 0, 2: 0, 3: 0, 4: 3, 5: 5, 6: 5, 7: 5}[events]

    first, cursor = read(EVENTS[:events], ROWS[:steps], Cursor())
    second, cursor = read(EVENTS, ROWS, cursor)

    assert first + second == WHOLE
    assert read(EVENTS, ROWS, cursor)[0] == []


def test_an_evaluation_that_comes_after_its_step_was_read_is_not_left_out() -> None:
    _, cursor = read(EVENTS[:3], ROWS[:2], Cursor())

    lines, _ = read(EVENTS[:3], ROWS[:3], cursor)

    assert lines == ["step 2/4 eval loss 1.6000"]


def test_rows_that_were_not_asked_for_are_not_read_twice() -> None:
    _, cursor = read(EVENTS, ROWS, Cursor())

    assert page(EVENTS, ROWS, cursor)[0] == []


def test_a_request_that_waits_is_no_line() -> None:
    lines, cursor = read(EVENTS[:1], [], Cursor())

    assert (lines, cursor) == ([], Cursor(events=1))


def test_money_that_came_back_is_a_line() -> None:
    told = [*EVENTS, Event(type="billing_limit", message="the limit"), Event(type="refund", message="Refunded 1 USD")]

    assert read(told, ROWS, Cursor())[0][-2:] == ["billing_limit: the limit", "refund: Refunded 1 USD"]


def test_a_row_without_a_loss_is_no_line() -> None:
    assert read([], [{"train/global_step": 1, "train/loss": None}, {"train/epoch": 1.0}], Cursor())[0] == []


def test_nothing_read_has_no_cursor() -> None:
    assert Cursor().text is None
    assert Cursor.parse(None) == Cursor()
