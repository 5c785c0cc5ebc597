"""Files that are either whole or not there: written aside, flushed to disk, renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ftorch.core.errors import StoreError

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write `path` all or nothing: readers see the old content or the new, never a part."""
    aside = path.with_name(f".{path.name}.{_writer()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with translated(path), aside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Say in words that the disk is full or read-only; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left on the disk that holds {path.parent}",
                hint="free some space, or set FTORCH_HOME to another disk; nothing was lost",
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(
                f"{path.parent} cannot be written: {error.strerror}",
                hint="set FTORCH_HOME to a folder that you can write",
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, all or nothing."""
    with replacing(path) as stream:
        stream.write(text.encode())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else is in the block for this folder, neither another process nor another thread.

    The folder itself is locked, so that no file is left in it. Windows cannot, and goes without.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_text_once(path: Path, text: str) -> None:
    """Write a small text file unless it is there: of several processes the first one's stays."""
    aside = path.with_name(f".{path.name}.{_writer()}.once")
    try:
        write_text(aside, text)
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _writer() -> str:
    """Names who writes: two threads may write the same file at once, as when one plan is staged for two jobs."""
    return f"{os.getpid()}-{threading.get_ident()}"


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The file's SHA-256 in hex; `progress` is told the bytes of each block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if progress:
                progress(len(block))
    return digest.hexdigest()
