"""Volumes as folders: what is in the folder is what everybody sees. Uploads come as blocks named by their SHA-256."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from ftorch.core.clock import Clock
from ftorch.emulators.server import RefusedError

BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder in a volume. `path` has no slash in front, as Modal tells it."""

    path: str
    is_folder: bool
    size: int
    modified_s: int


class Volume:
    """One volume. Paths come from outside and never leave the folder."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self._clock = clock
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: bytes, at: datetime | None = None) -> None:
        """Replace a file; its time is the emulator's."""
        target = self._inside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.part")
        aside.write_bytes(content)
        moment = (at or self._clock.now()).timestamp()
        os.utime(aside, (moment, moment))
        aside.replace(target)

    def read(self, path: str) -> bytes:
        target = self._inside(path)
        if not target.is_file():
            raise RefusedError(404, "not_found", f"no such file: {path}")
        return target.read_bytes()

    def has(self, path: str) -> bool:
        return self._inside(path).is_file()

    def remove(self, path: str, *, recursive: bool) -> None:
        target = self._inside(path)
        if target.is_dir() and recursive:
            shutil.rmtree(target)
        elif target.is_file():
            target.unlink()
        else:
            raise RefusedError(404, "not_found", f"no such file: {path}")

    def entries(self, path: str, *, recursive: bool) -> Sequence[Entry]:
        target = self._inside(path)
        if target.is_file():
            return [self._entry(target)]
        if not target.is_dir():
            raise RefusedError(404, "not_found", f"no such folder: {path}")
        found = target.rglob("*") if recursive else target.iterdir()
        return list(self._entries(sorted(found)))

    def _entries(self, paths: Sequence[Path]) -> Iterator[Entry]:
        for path in paths:
            try:
                yield self._entry(path)
            except FileNotFoundError:
                continue  # a process removes files while we look

    def _entry(self, path: Path) -> Entry:
        state = path.stat()
        name = path.relative_to(self.root).as_posix()
        return Entry(name, path.is_dir(), 0 if path.is_dir() else state.st_size, int(state.st_mtime))

    def _inside(self, path: str) -> Path:
        parts = [part for part in PurePosixPath(path).parts if part != "/"]
        if ".." in parts:
            raise RefusedError(422, "invalid", f"{path!r} leaves the volume")
        return self.root.joinpath(*parts)
