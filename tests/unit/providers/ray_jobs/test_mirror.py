"""Folders that stand for machines, and one that stands for the storage which all of them reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.providers.ray_jobs.inside.place import SetupError
from unit.providers.ray_jobs.cluster import KEY, checkpoint


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
