"""Two submits at once on one folder: both keep their held-out rows."""

from __future__ import annotations

import threading
from pathlib import Path

from ftorch.core.files import locked
from ftorch.data.lock import Entry, read_lock, save_lock


def test_two_submits_at_once_keep_the_rows_of_both(tmp_path: Path) -> None:
    entry = Entry("2026-11-24T00:00:00Z", "0" * 64, ("0123456789abcdef",), path="h.csv")
    inside, outcome = threading.Event(), []

    def second() -> None:
        inside.wait()
        with locked(tmp_path):
            outcome.append(save_lock(tmp_path, read_lock(tmp_path).with_entry("b.jsonl", entry)))

    thread = threading.Thread(target=second)
    thread.start()
    with locked(tmp_path):
        lock = read_lock(tmp_path)
        inside.set()
        thread.join(0.05)
        assert not outcome
        save_lock(tmp_path, lock.with_entry("a.jsonl", entry))
    thread.join()

    assert set(read_lock(tmp_path).entries) == {"a.jsonl", "b.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["heldout.lock"]
