"""A run's folder, copied to where the cluster is not needed to read it. What others wait for is copied last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ftorch.providers.ray_jobs.inside.place import SetupError
from ftorch.providers.ray_jobs.inside.settings import STATUS

_CHECKPOINTS, _MARK = "checkpoints", ".complete"
_LAST = (_MARK, "result.json", STATUS)
_HERE_ONLY = ("lock", "job.json")
_BEING_MADE = ("earlier", "adapter.partial")


class Mirror:
    """`root/<key>` in any storage that fsspec knows."""

    def __init__(self, uri: str) -> None:
        self._files, self._root = _opened(uri)
        self._sent: dict[str, tuple[int, int]] = {}

    def push(self, folder: Path, key: str) -> None:
        """Copy what is new in the folder, and delete the checkpoints that it has no more."""
        here = dict(_files(folder))
        for name in sorted(here, key=lambda name: (_turn(name), name)):
            self._send(here[name], name, key)
        for name in [name for name in self._sent if name not in here]:
            self._remove(f"{self._root}/{key}/{name}")
            del self._sent[name]

    def read(self, key: str, name: str) -> bytes | None:
        """A file of a run, or None."""
        try:
            found: bytes = self._files.cat_file(f"{self._root}/{key}/{name}")
        except FileNotFoundError:
            return None
        return found

    def bring_checkpoint(self, key: str, folder: Path) -> bool:
        """Bring a run's newest whole checkpoint to `folder`; False where it has none."""
        place = f"{self._root}/{key}/{_CHECKPOINTS}"
        marks = [path for path in self._walk(place) if path.endswith(f"/{_MARK}")]
        if not marks:
            return False
        newest = max((str(PurePosixPath(mark).parent) for mark in marks), key=_step)
        aside = folder / f".{PurePosixPath(newest).name}"
        for path in self._walk(newest):
            target = aside / PurePosixPath(path).relative_to(newest)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))
        aside.rename(folder / PurePosixPath(newest).name)
        return True

    def earlier(self, key: str) -> str | None:
        """The run that this one went on from, as its status says."""
        told = self.read(key, STATUS)
        found = json.loads(told).get("resume_from") if told else None
        return str(found) if found else None

    def _send(self, path: Path, name: str, key: str) -> None:
        try:
            state = path.stat()
            now = (state.st_size, state.st_mtime_ns)
            if self._sent.get(name) == now:
                return
            target = f"{self._root}/{key}/{name}"
            self._files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            self._files.put_file(str(path), target)
        except FileNotFoundError:
            return  # the trainer has replaced or removed it meanwhile: the next copy tells
        self._sent[name] = now

    def _walk(self, place: str) -> list[str]:
        try:
            found: list[str] = self._files.find(place)
        except FileNotFoundError:
            return []
        return found

    def _remove(self, target: str) -> None:
        try:
            self._files.rm_file(target)
        except FileNotFoundError:
            return


def _opened(uri: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415  not wanted where nothing is copied

        files, root = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SetupError(f"output_uri {uri!r} cannot be opened on the cluster: {error}") from error
    return files, str(root).rstrip("/")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is worth copying: whole files, and of checkpoints those that are complete."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        parts = PurePosixPath(name).parts
        is_hidden = any(part.startswith(".") for part in parts[:-1]) or name.endswith((".part", ".new"))
        if not path.is_file() or is_hidden or name in _HERE_ONLY or parts[0] in _BEING_MADE:
            continue
        if parts[0] == _CHECKPOINTS and not (folder / _CHECKPOINTS / parts[1] / _MARK).exists():
            continue
        yield name, path


def _turn(name: str) -> int:
    last = PurePosixPath(name).name
    return 1 + _LAST.index(last) if last in _LAST else 0


def _step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])
