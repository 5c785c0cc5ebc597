"""Folders that stand for machines, and one that stands for the storage which all of them reach."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.place import SetupError
from unit.providers.ray_jobs.cluster import EARLIER, KEY, checkpoint, steps

_FIRST = "ft-bench1-01m853egkdvypddzfanrkc5c03"


def _mirror(tmp_path: Path) -> Mirror:
    return Mirror(f"file://{tmp_path}/bucket")


class _Order:
    """Which names a storage was given, and which it was told to drop, in order."""

    def __init__(self, mirror: Mirror) -> None:
        self.names: list[str] = []
        self.dropped: list[str] = []
        put, drop = mirror._files.put_file, mirror._files.rm_file

        def noted(path: str, target: str) -> None:
            self.names.append(target.rpartition(f"{KEY}/")[2])
            put(path, target)

        def dropped(target: str) -> None:
            self.dropped.append(target.rpartition(f"{KEY}/")[2])
            drop(target)

        mirror._files.put_file, mirror._files.rm_file = noted, dropped


def test_what_others_wait_for_is_copied_last(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint(folder, 4)
    (folder / "adapter").mkdir()
    for name in ("status.json", "result.json", "events.jsonl", "adapter/weights"):
        (folder / name).write_text("{}")
    mirror = Mirror(f"memory://{tmp_path.name}")
    order = _Order(mirror)

    mirror.push(folder, KEY)
    mirror.tell(folder, KEY)

    assert order.names[-3:] == ["checkpoints/checkpoint-4/.complete", "result.json", "status.json"]


def test_only_what_is_new_is_copied_and_a_half_checkpoint_never(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint(folder, 4)
    mirror = Mirror(f"memory://{tmp_path.name}")
    mirror.push(folder, KEY)
    order = _Order(mirror)
    (folder / "events.jsonl").write_text("{}")
    (folder / "checkpoints" / "checkpoint-8").mkdir()
    (folder / "checkpoints" / "checkpoint-8" / "adapter.bin").write_text("half of it")

    mirror.push(folder, KEY)

    assert order.names == ["events.jsonl"]


def test_a_checkpoint_that_was_dropped_is_dropped_there_too_its_mark_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint(folder, 4)
    mirror = Mirror(f"memory://{tmp_path.name}")
    mirror.push(folder, KEY)
    order = _Order(mirror)
    (folder / "checkpoints" / "checkpoint-4" / ".complete").unlink()
    (folder / "checkpoints" / "checkpoint-4" / "adapter.bin").unlink()

    mirror.push(folder, KEY)

    assert order.dropped == ["checkpoints/checkpoint-4/.complete", "checkpoints/checkpoint-4/adapter.bin"]


def test_the_status_of_the_driver_is_not_the_writers_to_copy(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "status.json").write_text("{}")
    mirror = _mirror(tmp_path)

    mirror.push(folder, KEY)

    assert mirror.read(KEY, "status.json") is None


def test_the_newest_whole_checkpoint_is_brought(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    checkpoint(tmp_path / "bucket" / KEY, 12)
    checkpoint(tmp_path / "bucket" / KEY, 20, is_whole=False)

    assert _mirror(tmp_path).bring_checkpoint(KEY, tmp_path / "here")

    assert [path.name for path in (tmp_path / "here").glob("checkpoint-*")] == ["checkpoint-12"]


def test_what_a_killed_worker_left_half_brought_is_no_part_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    aside = tmp_path / "here" / ".checkpoint-4"
    aside.mkdir(parents=True)
    (aside / "half.bin").write_text("half of it")

    _mirror(tmp_path).bring_checkpoint(KEY, tmp_path / "here")

    brought = tmp_path / "here" / "checkpoint-4"
    assert sorted(path.name for path in brought.iterdir()) == [".complete", "adapter.bin"]


def test_an_unfinished_checkpoint_of_the_step_makes_way(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    half = tmp_path / "here" / "checkpoint-4"
    half.mkdir(parents=True)
    (half / "rng_state_1.pth").write_text("of a worker here")

    _mirror(tmp_path).bring_checkpoint(KEY, tmp_path / "here")

    assert sorted(path.name for path in half.iterdir()) == [".complete", "adapter.bin"]


def test_a_whole_checkpoint_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    _mirror(tmp_path).bring_checkpoint(KEY, tmp_path / "here")
    weights = tmp_path / "here" / "checkpoint-4" / "adapter.bin"
    before = weights.stat().st_ino

    assert _mirror(tmp_path).bring_checkpoint(KEY, tmp_path / "here")
    assert weights.stat().st_ino == before


def test_a_whole_checkpoint_of_another_writer_makes_way(tmp_path: Path) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    checkpoint(tmp_path / "there", 4, mark='{"t": "of another writer"}')
    here = tmp_path / "there" / "checkpoints"

    _mirror(tmp_path).bring_checkpoint(KEY, here)

    assert (here / "checkpoint-4" / ".complete").read_text() == "{}"


def test_a_checkpoint_that_is_dropped_while_it_is_brought_gives_way_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket" / KEY
    checkpoint(bucket, 4)
    mirror = _mirror(tmp_path)
    get = mirror._files.get_file

    def dropped_meanwhile(path: str, target: str) -> None:
        if path.endswith("checkpoint-4/adapter.bin"):
            (bucket / "checkpoints" / "checkpoint-4" / ".complete").unlink()
            checkpoint(bucket, 8)
        get(path, target)

    monkeypatch.setattr(mirror._files, "get_file", dropped_meanwhile)

    assert mirror.bring_checkpoint(KEY, tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").glob("checkpoint-*")] == ["checkpoint-8"]


def test_checkpoints_that_are_always_dropped_meanwhile_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "bucket" / KEY, 4)
    mirror = _mirror(tmp_path)

    def never_there(path: str, _target: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(mirror._files, "get_file", never_there)

    with pytest.raises(SetupError, match="dropped while they were brought"):
        mirror.bring_checkpoint(KEY, tmp_path / "here")


def test_an_earlier_run_without_a_checkpoint_hands_on_that_of_the_one_before_it(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    checkpoint(bucket / _FIRST, 4)
    (bucket / EARLIER).mkdir()
    (bucket / EARLIER / "status.json").write_text(json.dumps({"resume_from": _FIRST}))

    assert _mirror(tmp_path).bring_earlier(EARLIER, tmp_path / "earlier")
    assert (tmp_path / "earlier" / "checkpoint-4" / ".complete").exists()


def test_a_status_that_was_cut_while_it_was_copied_hands_nothing_on(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    (bucket / EARLIER).mkdir(parents=True)
    (bucket / EARLIER / "status.json").write_text('{"resume_fr')

    assert not _mirror(tmp_path).bring_earlier(EARLIER, tmp_path / "earlier")


def test_a_bucket_that_does_not_exist_is_no_success_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _run(tmp_path / "run", "a")
    mirror = _mirror(tmp_path)
    made: list[str] = []

    def refuse(_path: str, target: str) -> None:
        raise FileNotFoundError(f"NoSuchBucket: {target}")

    monkeypatch.setattr(mirror._files, "put_file", refuse)
    monkeypatch.setattr(mirror._files, "makedirs", lambda path, **_: made.append(path))
    monkeypatch.setattr(mirror._files, "protocol", ("s3", "s3a"))

    with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
        mirror.push(folder, KEY)
    assert made == []


def test_a_writer_that_was_cut_off_does_not_undo_what_the_next_one_did(tmp_path: Path) -> None:
    cut_off = _run(tmp_path / "old", "one\n", 4)
    mirror = _mirror(tmp_path)
    mirror.push(cut_off, KEY)
    _run(tmp_path / "bucket" / KEY, "one\nanother\n", 8)

    (cut_off / "events.jsonl").write_text("one\nmine\n")
    with pytest.raises(SetupError, match="another writer of this run has gone on"):
        mirror.push(cut_off, KEY)

    assert (tmp_path / "bucket" / KEY / "events.jsonl").read_text() == "one\nanother\n"


def test_a_line_that_was_copied_half_stops_nobody(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", "one\ntw")
    mirror = _mirror(tmp_path)
    mirror.push(folder, KEY)

    (folder / "events.jsonl").write_text("one\nthree\n")
    mirror.push(folder, KEY)

    assert (tmp_path / "bucket" / KEY / "events.jsonl").read_text() == "one\nthree\n"


def _run(folder: Path, events: str, *checkpoints: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text(events)
    (folder / "metrics.jsonl").write_text(f"metrics of {events}")
    (folder / "heartbeat.json").write_text(f"heartbeat of {events}")
    for step in checkpoints:
        checkpoint(folder, step)
    return folder


def test_on_a_new_machine_the_writer_has_all_that_the_last_one_left(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "a", 4, 8)
    here = tmp_path / "here"
    here.mkdir()

    _mirror(tmp_path).catch_up(here, KEY)

    assert (steps(here), (here / "events.jsonl").read_text()) == ([8], "a")
    assert ((here / "metrics.jsonl").read_text(), (here / "heartbeat.json").read_text()) == (
        "metrics of a",
        "heartbeat of a",
    )


def test_a_result_in_the_storage_is_known_to_a_new_writer(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "a")
    (tmp_path / "bucket" / KEY / "result.json").write_text("{}")
    here = tmp_path / "here"
    here.mkdir()

    _mirror(tmp_path).catch_up(here, KEY)

    assert (here / "result.json").read_text() == "{}"


def test_a_writer_that_starts_again_where_it_was_keeps_what_was_not_copied(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "a", 4)
    here = _run(tmp_path / "here", "ab", 4, 8)

    _mirror(tmp_path).catch_up(here, KEY)

    assert (steps(here), (here / "events.jsonl").read_text()) == ([4, 8], "ab")


def test_what_a_machine_has_left_from_before_another_wrote_is_forgotten(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "ac", 4)
    here = _run(tmp_path / "here", "ab", 4, 8)
    (here / "result.json").write_text("{}")

    _mirror(tmp_path).catch_up(here, KEY)

    assert (steps(here), (here / "events.jsonl").read_text()) == ([4], "ac")
    assert not (here / "result.json").exists()


def test_a_catching_up_that_was_cut_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path / "bucket" / KEY, "ac", 4)
    here = _run(tmp_path / "here", "ab", 8)

    def cut(*_: object) -> bool:
        raise OSError("the machine is taken away")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "bring_checkpoint", cut)
        with pytest.raises(OSError, match="taken away"):
            _mirror(tmp_path).catch_up(here, KEY)

    _mirror(tmp_path).catch_up(here, KEY)

    assert (steps(here), (here / "events.jsonl").read_text()) == ([4], "ac")


def test_a_newer_checkpoint_is_brought_though_the_events_were_cut(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "", 4, 8)
    here = _run(tmp_path / "here", "a", 4)

    _mirror(tmp_path).catch_up(here, KEY)

    assert steps(here) == [4, 8]


def test_a_new_writer_drops_the_checkpoints_that_the_last_one_left(tmp_path: Path) -> None:
    bucket = _run(tmp_path / "bucket" / KEY, "a", 4, 8)
    here = tmp_path / "here"
    here.mkdir()
    mirror = _mirror(tmp_path)
    mirror.catch_up(here, KEY)

    mirror.push(here, KEY)

    assert steps(bucket) == [8]


def test_a_checkpoint_that_lies_there_is_not_copied_over_while_others_bring_it(tmp_path: Path) -> None:
    _run(tmp_path / "bucket" / KEY, "a", 4)
    here = _run(tmp_path / "here", "ab", 4)
    mirror = _mirror(tmp_path)
    mirror.catch_up(here, KEY)
    order = _Order(mirror)

    mirror.push(here, KEY)

    assert sorted(order.names) == ["events.jsonl", "heartbeat.json", "metrics.jsonl"]
