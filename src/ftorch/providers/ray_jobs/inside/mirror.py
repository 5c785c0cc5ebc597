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

_CHECKPOINTS, _MARK, _EVENTS = "checkpoints", ".complete", "events.jsonl"
_LAST = (_MARK, "result.json")
_HISTORY = ("result.json", "metrics.jsonl", "heartbeat.json")
_HERE_ONLY = ("lock", "job.json", STATUS)
_BEING_MADE = ("earlier", "adapter.partial")
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
_TRIES = 5
MOST_EARLIER = 20
"""So many runs back a checkpoint is looked for."""

_State = tuple[int, int]


class Mirror:
    """`root/<key>` in any storage that fsspec knows."""

    def __init__(self, uri: str) -> None:
        self._files, self._root = _opened(uri)
        self._sent: dict[str, _State | None] = {}
        """What lies there, and as which state of our file; None: as none of ours."""

    def push(self, folder: Path, key: str) -> None:
        """Copy what is new in the folder, all but its status, and delete the checkpoints that it has no more.

        Raises SetupError where another writer has gone on since: a machine that was cut off must not undo what it did.
        """
        here = dict(_files(folder))
        if _EVENTS in here and self._sent.get(_EVENTS) != _state(here[_EVENTS]):
            self._check_alone(here[_EVENTS], key)
        for name in sorted(here, key=lambda name: (_turn(name), name)):
            self._send(here[name], name, key)
        gone = [name for name in self._sent if name.startswith(f"{_CHECKPOINTS}/") and name not in here]
        # The mark goes first: who brings a checkpoint meanwhile must not take the rest of it for a whole one.
        for name in sorted(gone, key=_turn, reverse=True):
            self._remove(f"{self._root}/{key}/{name}")
            del self._sent[name]

    def tell(self, folder: Path, key: str) -> None:
        """Copy the folder's status: what whoever watches the run reads."""
        self._send(folder / STATUS, STATUS, key)

    def read(self, key: str, name: str) -> bytes | None:
        """A file of a run, or None."""
        try:
            found: bytes = self._files.cat_file(f"{self._root}/{key}/{name}")
        except FileNotFoundError:
            return None
        return found

    def catch_up(self, folder: Path, key: str) -> None:
        """Make the folder the newest that any writer of the run has left. Twice is harmless, and a cut is mended.

        Events are only ever added to: ours are the newer where they begin with those that lie there. Else another
        writer has gone on since, and nothing that we have goes with what it did.
        """
        told = self.read(key, _EVENTS) or b""
        if not _content(folder / _EVENTS).startswith(told):
            _empty(folder)
            for name in _HISTORY:
                self._bring(key, name, folder)
            self.bring_checkpoint(key, folder / _CHECKPOINTS)
            (folder / _EVENTS).write_bytes(told)
        else:
            self.bring_checkpoint(key, folder / _CHECKPOINTS, above=newest_step(folder / _CHECKPOINTS))
        self._note_checkpoints(folder, key)

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

    def bring_earlier(self, key: str | None, folder: Path) -> bool:
        """Bring the newest checkpoint of a run, or of the one that it went on from, and so on; False without any."""
        for _ in range(MOST_EARLIER):
            if key is None:
                return False
            if self.bring_checkpoint(key, folder):
                return True
            key = self.earlier(key)
        return False

    def earlier(self, key: str) -> str | None:
        """The run that this one went on from, as its status says."""
        return resumed_from(self.read(key, STATUS))

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

    def _bring(self, key: str, name: str, folder: Path) -> None:
        if (content := self.read(key, name)) is not None:
            (folder / name).write_bytes(content)

    def _note_checkpoints(self, folder: Path, key: str) -> None:
        """Those that lie there are dropped when ours are, and what is ours already is not copied again."""
        root = f"{self._root}/{key}/"
        there = [path.removeprefix(root) for path in self._walk(f"{root}{_CHECKPOINTS}")]
        same = {
            str(PurePosixPath(name).parent)
            for name in there
            if name.endswith(f"/{_MARK}") and self.read(key, name) == _content(folder / name)
        }
        for name in there:
            is_same = any(name.startswith(f"{checkpoint}/") for checkpoint in same)
            self._sent[name] = _state(folder / name) if is_same and (folder / name).exists() else None

    def _check_alone(self, events: Path, key: str) -> None:
        told = self.read(key, _EVENTS) or b""
        if not _content(events).startswith(told[: told.rfind(b"\n") + 1]):
            raise SetupError("another writer of this run has gone on elsewhere: nothing more is copied from here")

    def _send(self, path: Path, name: str, key: str) -> None:
        target = f"{self._root}/{key}/{name}"
        try:
            now = _state(path)
            if self._sent.get(name) == now:
                return
            self._put(path, target)
        except FileNotFoundError:
            if path.exists():
                raise
            return  # the trainer has replaced or removed it meanwhile: the next copy tells
        self._sent[name] = now

    def _put(self, path: Path, target: str) -> None:
        """Folders are made where they are missing. A bucket has none, and to ask for one may make the bucket."""
        try:
            self._files.put_file(str(path), target)
        except FileNotFoundError:
            protocol = self._files.protocol
            if not path.exists() or _BUCKETS & set((protocol,) if isinstance(protocol, str) else protocol):
                raise
            self._files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            self._files.put_file(str(path), target)

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


def resumed_from(status: bytes | None) -> str | None:
    """The run that a run went on from. A status that was cut off while it was copied says nothing."""
    try:
        found = json.loads(status or b"{}").get("resume_from")
    except ValueError:
        return None
    return str(found) if found else None


def newest_step(checkpoints: Path) -> int:
    """The step of the newest whole checkpoint in a folder; -1 where there is none."""
    return max((_step(mark.parent.name) for mark in checkpoints.glob(f"checkpoint-*/{_MARK}")), default=-1)


def drop_checkpoints(folder: Path) -> None:
    """Checkpoints of a finished training are of no use to anybody; those of an unfinished one stay."""
    if (folder / "result.json").exists():
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)


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


def _empty(folder: Path) -> None:
    """Remove what a writer has left, but its events: they tell to the end that the folder is not the newest."""
    for name in _HISTORY:
        (folder / name).unlink(missing_ok=True)
    for name in (_CHECKPOINTS, "adapter"):
        shutil.rmtree(folder / name, ignore_errors=True)


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
