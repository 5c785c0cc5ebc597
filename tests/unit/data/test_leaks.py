"""Held-out rows stay out of training: between files, and over time by `heldout.lock`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import DataError, StoreError
from ftorch.data import LOCK_NAME, Prepared
from unit.data.samples import found, pairs, prepared, write_rows

CLOCK = ManualClock(datetime(2026, 11, 1, 12, tzinfo=UTC))
FRACTION = {"fraction": 0.2, "seed": 1}


def lock_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / LOCK_NAME).read_text())
    return content


def submitted(path: Path, **dataset: Any) -> Prepared:
    done = prepared(path, **dataset)
    done.write_lock(CLOCK)
    return done


def test_a_train_row_that_is_in_the_held_out_file_is_told_with_both_lines(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [*pairs(3, "Exam"), {"prompt": " question 16 ?", "completion": "x"}])
    path = write_rows(tmp_path / "train.jsonl", pairs(60))

    report = prepared(path, held_out={"path": "test.jsonl"}).report

    assert "train.jsonl:17: D404 error: also in test.jsonl:4" in list(report.lines())
    assert not report.ok


def test_files_without_a_common_prompt_pass(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", pairs(5, "Exam"))

    done = prepared(write_rows(tmp_path / "train.jsonl", pairs(60)), held_out={"path": "test.jsonl"})

    assert (done.facts.train_rows, done.facts.held_out_rows) == (60, 5)


def test_validation_rows_may_not_be_held_out_rows_nor_train_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", pairs(5, "Exam"))
    write_rows(tmp_path / "val.jsonl", [*pairs(1, "Check"), pairs(1, "Exam")[0], pairs(2)[1]])
    path = write_rows(tmp_path / "train.jsonl", pairs(60))

    report = prepared(path, held_out={"path": "test.jsonl"}, validation={"path": "val.jsonl"}).report

    leaks = [str(finding) for finding in report.findings if finding.fault.rule == "D404"]
    assert leaks == [
        "train.jsonl:2: D404 error: also in val.jsonl:3",
        "val.jsonl:2: D404 error: also in test.jsonl:1",
    ]


def test_validation_rows_may_not_be_rows_drawn_for_held_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(200))
    done = prepared(path, held_out=FRACTION)
    done.write(tmp_path / "out")
    drawn = json.loads((tmp_path / "out" / "held_out.jsonl").read_bytes().splitlines()[0])
    number = int(drawn["prompt"][0]["content"].split()[-1])
    write_rows(tmp_path / "val.jsonl", [*pairs(1, "Check"), pairs(200)[number]])

    report = prepared(path, held_out=FRACTION, validation={"path": "val.jsonl"}).report

    leaks = [str(finding) for finding in report.findings if finding.fault.rule == "D404"]
    assert leaks == [f"val.jsonl:2: D404 error: also in train.jsonl:{number + 1}"]


def test_the_lock_names_the_file_the_draw_and_the_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(200))

    done = submitted(path, held_out=FRACTION)

    lock = lock_of(tmp_path)
    entry = lock["entries"]["train.jsonl"]
    assert lock["version"] == 1
    assert (entry["by"], entry["fraction"], entry["seed"]) == ("content_hash", 0.2, 1)
    assert entry["created"] == "2026-11-01T12:00:00Z"
    assert len(entry["dataset_sha256"]) == 64
    assert len(entry["rows"]) == done.facts.held_out_rows
    assert entry["rows"] == sorted(entry["rows"])
    assert all(len(row) == 16 for row in entry["rows"])


def test_the_lock_of_a_held_out_file_names_its_path(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", pairs(5, "Exam"))

    submitted(write_rows(tmp_path / "train.jsonl", pairs(60)), held_out={"path": "test.jsonl"})

    entry = lock_of(tmp_path)["entries"]["train.jsonl"]
    assert (entry["path"], len(entry["rows"]), "seed" in entry) == ("test.jsonl", 5, False)


def test_preparing_writes_no_lock(tmp_path: Path) -> None:
    prepared(write_rows(tmp_path / "train.jsonl", pairs(60)), held_out=FRACTION)

    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_writing_the_lock_again_changes_no_byte(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(60))
    submitted(path, held_out=FRACTION)
    before = (tmp_path / LOCK_NAME).stat()
    content = (tmp_path / LOCK_NAME).read_bytes()

    prepared(path, held_out=FRACTION).write_lock(ManualClock())

    assert (tmp_path / LOCK_NAME).read_bytes() == content
    assert (tmp_path / LOCK_NAME).stat().st_ino == before.st_ino


def test_new_rows_join_the_lock_and_none_leaves_it(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(300))
    submitted(path, held_out=FRACTION)
    before = set(lock_of(tmp_path)["entries"]["train.jsonl"]["rows"])

    submitted(write_rows(path, pairs(600)[150:]), held_out=FRACTION)

    after = set(lock_of(tmp_path)["entries"]["train.jsonl"]["rows"])
    assert before < after


def test_a_larger_fraction_of_the_same_seed_is_no_leak(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(300))
    submitted(path, held_out=FRACTION)

    assert prepared(path, held_out={**FRACTION, "fraction": 0.4}).report.ok


@pytest.mark.parametrize("draw", [{"fraction": 0.2, "seed": 2}, {"fraction": 0.05, "seed": 1}])
def test_another_draw_of_the_same_file_is_refused_with_the_way_out(draw: dict[str, Any], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(300))
    submitted(path, held_out=FRACTION)

    report = prepared(path, held_out=draw).report

    assert set(report.counts) == {"D404"}
    assert report.counts["D404"] > 20
    assert report.faults[0].message == "held out before: heldout.lock has it under 'train.jsonl'"
    assert "delete the entry 'train.jsonl' of heldout.lock to start a new held-out set" in (report.faults[0].hint or "")


def test_rows_that_another_file_of_the_folder_held_out_are_refused(tmp_path: Path) -> None:
    submitted(write_rows(tmp_path / "old.jsonl", pairs(300)), held_out=FRACTION)
    write_rows(tmp_path / "test.jsonl", pairs(5, "Exam"))

    report = prepared(write_rows(tmp_path / "new.jsonl", pairs(300)), held_out={"path": "test.jsonl"}).report

    assert report.counts == {"D404": len(lock_of(tmp_path)["entries"]["old.jsonl"]["rows"])}
    assert "under 'old.jsonl'" in report.faults[0].message


def test_a_lock_in_another_folder_does_not_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    submitted(write_rows(tmp_path / "a" / "train.jsonl", pairs(300)), held_out=FRACTION)

    path = write_rows(tmp_path / "b" / "train.jsonl", pairs(300))
    assert prepared(path, held_out={**FRACTION, "seed": 9}).report.ok


@pytest.mark.parametrize(
    "content", ["{", '{"version": 1, "entries": {"a": {}}}', '{"version": 2, "entries": {}}', "\xff"]
)
def test_a_damaged_lock_stops_everything(content: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", pairs(60))
    (tmp_path / LOCK_NAME).write_text(content, encoding="latin-1")

    with pytest.raises(DataError, match="not a lock that ftorch wrote") as caught:
        prepared(path)

    assert "version control" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_written_is_told_with_the_file(read_only: Path) -> None:
    done = prepared(read_only / "train.jsonl", held_out=FRACTION)

    with nobody(), pytest.raises(StoreError, match=f"{read_only / LOCK_NAME} cannot be written") as caught:
        done.write_lock(CLOCK)

    assert "make its folder writable" in (caught.value.hint or "")


def test_a_leak_planted_in_many_rows_is_found(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [*pairs(200, "Exam"), pairs(7778)[7777]])

    report = prepared(write_rows(tmp_path / "train.jsonl", pairs(20_000)), held_out={"path": "test.jsonl"}).report

    assert found(report) == [("D404", 7778)]


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder outside of pytest's own, which only its owner may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "train.jsonl", pairs(60))
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere; be somebody else for a moment."""
    is_root = os.getuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
