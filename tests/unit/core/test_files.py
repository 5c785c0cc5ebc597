from __future__ import annotations

import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.core.files import replacing, sha256_file, translated, write_text, write_text_once
from ftorch.core.paths import Home


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    with pytest.raises(RuntimeError):
        _write_half(path)

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no space left"), translated(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_read_only_disk_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"), translated(tmp_path / "a"):
        raise OSError(errno.EROFS, "Read-only file system")


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * (3 << 20))
    seen: list[int] = []

    digest = sha256_file(path, seen.append)

    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(seen) == 3 << 20


def test_the_state_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    home = Home.from_env({"FTORCH_HOME": str(tmp_path / "home")}).ensure()

    assert home.root.stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_is_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    with pytest.raises(StoreError) as caught:
        Home.from_env({"FTORCH_HOME": str(tmp_path / "home")}).ensure()

    assert "FTORCH_HOME" in (caught.value.hint or "")


def _write_half(path: Path) -> None:
    with replacing(path) as stream:
        stream.write(b"half")
        raise RuntimeError("the power went")


def test_two_threads_may_replace_one_file_at_once(tmp_path: Path) -> None:
    path, both_write = tmp_path / "job.json", threading.Barrier(2, timeout=10)

    def write(text: str) -> None:
        with replacing(path) as stream:
            both_write.wait()
            stream.write(text.encode())
            both_write.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "two"]))

    assert path.read_text() in ("one", "two")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_once_stays(tmp_path: Path) -> None:
    write_text_once(tmp_path / "host.id", "first")
    write_text_once(tmp_path / "host.id", "second")

    assert (tmp_path / "host.id").read_text() == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "host.id"]
