"""Two folders as two machines: the writer of several workers on the one, then on the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.providers.ray_jobs.inside.carrier import Carrier
from ftorch.providers.ray_jobs.inside.mirror import Mirror
from unit.providers.ray_jobs.cluster import EARLIER, KEY, checkpoint, steps


def _carrier(tmp_path: Path, machine: str, resume_from: str | None = None) -> Carrier:
    folder = tmp_path / machine
    folder.mkdir(exist_ok=True)
    return Carrier(Mirror(f"file://{tmp_path}/bucket"), folder, KEY, resume_from)


def test_a_writer_on_another_machine_goes_on_where_the_first_was_killed(tmp_path: Path) -> None:
    first = _carrier(tmp_path, "one")
    first.catch_up()
    (tmp_path / "one" / "events.jsonl").write_text("started\n")
    checkpoint(tmp_path / "one", 5)
    first.share()  # and is killed: its block never ends

    with _carrier(tmp_path, "two") as second:
        second.catch_up()

        assert (steps(tmp_path / "two"), (tmp_path / "two" / "events.jsonl").read_text()) == ([5], "started\n")


def test_the_writers_last_files_are_copied_at_the_end(tmp_path: Path) -> None:
    with _carrier(tmp_path, "one") as carrier:
        carrier.catch_up()
        (tmp_path / "one" / "events.jsonl").write_text("succeeded")

    assert (tmp_path / "bucket" / KEY / "events.jsonl").read_text() == "succeeded"


def test_a_worker_that_does_not_write_copies_nothing(tmp_path: Path) -> None:
    with _carrier(tmp_path, "two"):
        (tmp_path / "two" / "events.jsonl").write_text("of a writer before")

    assert not (tmp_path / "bucket").exists()


def test_a_writer_that_could_not_catch_up_copies_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(Mirror, "catch_up", fail)
    carrier = _carrier(tmp_path, "one")
    (tmp_path / "one" / "events.jsonl").write_text("of a writer before")

    with pytest.raises(OSError, match="no route"), carrier:
        carrier.catch_up()

    assert not (tmp_path / "bucket").exists()


def test_checkpoints_of_a_finished_training_are_dropped_here_and_there(tmp_path: Path) -> None:
    with _carrier(tmp_path, "one") as carrier:
        carrier.catch_up()
        checkpoint(tmp_path / "one", 5)
        carrier.share()
        (tmp_path / "one" / "result.json").write_text("{}")

    assert (steps(tmp_path / "one"), steps(tmp_path / "bucket" / KEY)) == ([], [])


def test_checkpoints_of_a_training_that_was_stopped_stay_in_the_storage(tmp_path: Path) -> None:
    with _carrier(tmp_path, "one") as carrier:
        carrier.catch_up()
        checkpoint(tmp_path / "one", 5)

    assert steps(tmp_path / "bucket" / KEY) == [5]


def test_the_first_writer_of_a_retried_run_has_the_earlier_runs_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / EARLIER, 8)

    with _carrier(tmp_path, "one", EARLIER) as carrier:
        carrier.catch_up()

        assert (tmp_path / "one" / "earlier" / "checkpoint-8" / ".complete").exists()


def test_a_run_with_checkpoints_of_its_own_needs_no_earlier_one(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / EARLIER, 8)
    checkpoint(tmp_path / "bucket" / KEY, 12)

    with _carrier(tmp_path, "one", EARLIER) as carrier:
        carrier.catch_up()

        assert steps(tmp_path / "one") == [12]
        assert list((tmp_path / "one" / "earlier").iterdir()) == []


def test_an_earlier_run_that_left_nothing_is_begun_anew(tmp_path: Path) -> None:
    with _carrier(tmp_path, "one", EARLIER) as carrier:
        carrier.catch_up()

        assert (tmp_path / "one" / "earlier").is_dir()


def test_another_machine_has_the_writers_checkpoint_once_it_is_shared(tmp_path: Path) -> None:
    with _carrier(tmp_path, "one") as writer:
        writer.catch_up()
        checkpoint(tmp_path / "one", 5)
        writer.share()

        _carrier(tmp_path, "two").bring()

        assert steps(tmp_path / "two") == [5]
