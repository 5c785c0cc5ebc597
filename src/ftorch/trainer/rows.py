"""Rows of training and evaluation files: read once, hashed, and checked line by line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftorch.trainer.errors import DataError

Message = dict[str, str]
Kind = tuple[str, ...]

COMPLETION: Kind = ("prompt", "completion")
PREFERENCE: Kind = ("prompt", "chosen", "rejected")
_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its lists of messages by name, and the hash of its line."""

    parts: dict[str, list[Message]]
    sha256: str


def read_rows(path: Path, kind: Kind, sha256: str | None) -> list[Row]:
    """All rows of a file. Raises DataError with file and line, or when the file is not the one that was ordered."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise DataError(f"{path}: sha256 is {hashlib.sha256(content).hexdigest()}, the spec says {sha256}")
    rows = [_row(line, kind, f"{path}:{number}") for number, line in _lines(content)]
    if not rows:
        raise DataError(f"{path}: no rows")
    return rows


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _row(line: bytes, kind: Kind, place: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: not an object")
    return Row({name: _messages(value.get(name), name, place) for name in kind}, hashlib.sha256(line).hexdigest())


def _messages(value: Any, name: str, place: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise DataError(f"{place}: {name}: expected a list of messages")
    for message in value:
        _check(message, f"{place}: {name}")
    if name != "prompt" and value[0]["role"] != "assistant":
        raise DataError(f"{place}: {name}: does not start with the assistant")
    return value


def _check(message: Any, where: str) -> None:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise DataError(f"{where}: a message has exactly the keys role and content")
    if message["role"] not in _ROLES:
        raise DataError(f"{where}: {message['role']!r} is not a role ({', '.join(_ROLES)})")
    if not isinstance(message["content"], str):
        raise DataError(f"{where}: content is not text")
