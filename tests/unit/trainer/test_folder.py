"""The output folder's files: whole or cut, and what the events say about time that is to be paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftorch.trainer.device import World
from ftorch.trainer.errors import SpecError
from ftorch.trainer.files import JsonLines, read_lines, write_object
from ftorch.trainer.folder import Folder, attempts, seconds_per_phase
from ftorch.trainer.session import Session


def event(second: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"t": f"2026-11-23T12:00:{second:02}.000000Z", "event": name, **fields}


KILLED = [
    event(0, "started", pid=1, attempt=1),
    event(1, "phase", phase="import"),
    event(6, "phase", phase="train"),
    event(7, "train_begin", from_step=0, total_steps=60),
    event(20, "checkpoint", step=20, path="checkpoints/checkpoint-20"),
    event(50, "lost", attempt=1, last_seen="2026-11-23T12:00:28.000000Z", step=27),
]
FINISHED = [
    event(50, "started", pid=2, attempt=2),
    event(51, "phase", phase="import"),
    event(53, "phase", phase="train"),
    event(54, "train_begin", from_step=20, total_steps=60),
    event(59, "succeeded", step=60),
]


def test_killed_attempt_ends_when_it_was_last_seen() -> None:
    killed, finished = attempts([*KILLED, *FINISHED])

    assert (killed.seconds, killed.from_step, killed.to_step, killed.how) == (28, 0, 27, "killed")
    assert (finished.seconds, finished.from_step, finished.to_step, finished.how) == (9, 20, 60, "succeeded")


def test_phases_add_up_over_attempts() -> None:
    assert seconds_per_phase([*KILLED, *FINISHED]) == {"import": 5 + 2, "train": 22 + 6}


def test_attempt_without_an_end_is_running() -> None:
    [attempt] = attempts(KILLED[:-1])

    assert (attempt.how, attempt.seconds) == ("running", 20)


def test_next_attempt_notes_the_end_of_one_that_was_killed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.events.write_text("".join(json.dumps(line) + "\n" for line in KILLED[:-1]))
    folder.heartbeat.write_text(json.dumps({"t": "2026-11-23T12:00:28.000000Z", "pid": 1, "step": 27}))

    with Session(folder):
        pass

    lost, started = list(read_lines(folder.events))[5:7]
    assert (lost["event"], lost["last_seen"], lost["step"]) == ("lost", "2026-11-23T12:00:28.000000Z", 27)
    assert (started["event"], started["attempt"]) == ("started", 2)


def test_line_cut_by_a_crash_is_passed_over_and_the_next_starts_fresh(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "started"}\n{"event": "pha')

    lines = JsonLines(path)
    lines.append({"event": "started"})
    lines.close()

    assert list(read_lines(path)) == [{"event": "started"}, {"event": "started"}]
    assert path.read_bytes().count(b"\n") == 3


def test_number_that_json_has_not_becomes_null(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"loss": float("nan"), "nested": [float("inf"), 1.0]})
    lines.close()

    assert list(read_lines(tmp_path / "metrics.jsonl")) == [{"loss": None, "nested": [None, 1.0]}]


def test_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_object(tmp_path / "result.json", {"a": 1})
    write_object(tmp_path / "result.json", {"a": 2})

    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": 2}


def test_request_to_stop_waits_for_the_end_of_the_step(tmp_path: Path) -> None:
    with Session(Folder(tmp_path)) as session, session.stepping():
        session.request_stop("signal")
        session.request_stop("deadline")

    assert session.stop_reason == "signal"  # and the process is still here


def test_only_the_first_worker_writes(tmp_path: Path) -> None:
    with Session(Folder(tmp_path), world=World(rank=1, size=2)) as session:
        session.event("checkpoint", step=1)

    assert list(tmp_path.iterdir()) == []


def test_lock_that_is_no_open_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no open file"), Folder(tmp_path).locked({"FTORCH_LOCK_FD": str(2**30)}):
        pass
