"""Files that outlive a crash: replaced whole, or appended line by line, and hashed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def now() -> str:
    """This moment as RFC 3339 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds_between(start: str, end: str) -> float:
    """Seconds from one RFC 3339 moment to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


class JsonLines:
    """An append-only file of JSON objects. Each line is one write, so a reader sees at most its last line cut."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if self._is_torn():
            os.write(self._fd, b"\n")

    def append(self, row: Mapping[str, Any]) -> None:
        os.write(self._fd, _line(row))

    def close(self) -> None:
        os.close(self._fd)

    def _is_torn(self) -> bool:
        size = os.fstat(self._fd).st_size
        return size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of JSON lines; lines cut by a crash are passed over, a missing file is empty."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file that is written whole; None when there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_object(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace a JSON file: readers see the old one or the new one, after a power cut too when `durable`."""
    _replace(path, json.dumps(_finite(value), indent=2).encode() + b"\n", durable=durable)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of JSON lines, all or nothing."""
    _replace(path, b"".join(map(_line, rows)), durable=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush everything under a folder to disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def move_into_place(aside: Path, folder: Path) -> None:
    """Give a folder that was built aside its name; one that has the name is replaced."""
    sync_tree(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    sync(folder.parent)


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def inventory(folder: Path) -> dict[str, dict[str, Any]]:
    """Hash and size of every file under a folder, by its name in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): described(path) for path in files}


def described(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as stream:
        stream.write(content)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    aside.replace(path)
    if durable:
        sync(path.parent)


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN: such a number becomes null."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
