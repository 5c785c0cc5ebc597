"""A run's folder in a storage that every machine of the run reaches. What others wait for is copied last."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ftorch.providers.ray_jobs.inside.place import SetupError
from ftorch.providers.ray_jobs.inside.settings import STATUS

_CHECKPOINTS, _MARK = "checkpoints", ".complete"
_LAST = (_MARK, "result.json", STATUS)
_HERE_ONLY = ("lock", "job.json")
_BEING_MADE = ("earlier", "adapter.partial")
_TRIES = 5

_State = tuple[int, int]


class Mirror:
    """`root/<key>` in any storage that fsspec knows."""

    def __init__(self, uri: str) -> None:
        self._files, self._root = _opened(uri)
        self._sent: dict[str, _State] = {}

    def push(self, folder: Path, key: str) -> None:
        """Copy what is new in the folder, and delete the checkpoints that it has no more."""
        here = dict(_files(folder))
        for name in sorted(here, key=lambda name: (_turn(name), name)):
            self._send(here[name], name, key)
        gone = [name for name in self._sent if name.startswith(f"{_CHECKPOINTS}/") and name not in here]
        # The mark goes first: who brings a checkpoint meanwhile must not take the rest of it for a whole one.
        for name in sorted(gone, key=_turn, reverse=True):
            self._remove(f"{self._root}/{key}/{name}")
            del self._sent[name]

    def read(self, key: str, name: str) -> bytes | None:
        """A file of a run, or None."""
        try:
            found: bytes = self._files.cat_file(f"{self._root}/{key}/{name}")
        except FileNotFoundError:
            return None
        return found

    def bring_checkpoint(self, key: str, folder: Path, above: int = -1) -> bool:
        """Bring a run's newest whole checkpoint to `folder`; False where it has none of a step above `above`.

        One that is there already, with the same mark, stays as it is. Workers of one machine wait for each other.
        Raises SetupError when one after the other is dropped meanwhile.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            newest = self._newest(key)
            if newest is None or _step(newest) <= above:
                return False
            with suppress(FileNotFoundError):  # its writer has a newer one, and has dropped it
                self._bring_folder(newest, folder)
                return True
        raise SetupError(f"{_TRIES} checkpoints of {key} were dropped while they were brought")

    def earlier(self, key: str) -> str | None:
        """The run that this one went on from, as its status says."""
        told = self.read(key, STATUS)
        found = json.loads(told).get("resume_from") if told else None
        return str(found) if found else None

    def _newest(self, key: str) -> str | None:
        marks = [path for path in self._walk(f"{self._root}/{key}/{_CHECKPOINTS}") if path.endswith(f"/{_MARK}")]
        return max((str(PurePosixPath(mark).parent) for mark in marks), key=_step, default=None)

    def _bring_folder(self, checkpoint: str, folder: Path) -> None:
        """All or nothing. Raises FileNotFoundError where it is dropped meanwhile: its mark is gone first."""
        name = PurePosixPath(checkpoint).name
        target, aside = folder / name, folder / f".{name}"
        with _alone(folder):
            if _content(target / _MARK) == self._files.cat_file(f"{checkpoint}/{_MARK}"):
                return
            shutil.rmtree(aside, ignore_errors=True)  # of a worker that was killed
            names = [path.removeprefix(f"{checkpoint}/") for path in self._walk(checkpoint)]
            for one in [*(one for one in names if one != _MARK), _MARK]:
                (aside / one).parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{checkpoint}/{one}", str(aside / one))
            shutil.rmtree(target, ignore_errors=True)  # a half one, or another writer's
            aside.rename(target)

    def _send(self, path: Path, name: str, key: str) -> None:
        try:
            now = _state(path)
            if self._sent.get(name) == now:
                return
            target = f"{self._root}/{key}/{name}"
            self._files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            self._files.put_file(str(path), target)
        except FileNotFoundError:
            return  # the trainer has replaced or removed it meanwhile: the next copy tells
        self._sent[name] = now

    def _walk(self, place: str) -> list[str]:
        self._files.invalidate_cache()  # others write there: a list that was kept is an old one
        try:
            found: list[str] = self._files.find(place)
        except FileNotFoundError:
            return []
        return found

    def _remove(self, target: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(target)


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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One worker at a time: those of one machine share a folder."""
    with (folder / ".bringing").open("w") as lock:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _turn(name: str) -> int:
    last = PurePosixPath(name).name
    return 1 + _LAST.index(last) if last in _LAST else 0


def _step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])
