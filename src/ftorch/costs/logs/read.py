"""A log file as calls, one line after the other: ten lines or ten million take the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftorch.core.errors import DataError, Fault
from ftorch.costs.logs.call import Call, Json, NotACallError, Object
from ftorch.costs.logs.formats import FORMATS, detect


def read_calls(path: Path, form: str = "auto") -> Iterator[Call]:
    """The calls of a log. Raises DataError with file and line for what is no call."""
    read: Callable[[Object], Iterator[Call]] | None = FORMATS.get(form)
    for number, row in _objects(path):
        if read is None:
            read = FORMATS[_detected(row, path, number)]
        try:
            yield from read(row)
        except NotACallError as error:
            raise _fault(str(error), path, number) from error
        except (TypeError, AttributeError, KeyError) as error:
            raise _fault("is not built as a call is", path, number) from error


def _objects(path: Path) -> Iterator[tuple[int, Object]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _object(line, path, number)
    except OSError as error:
        raise DataError([Fault(f"cannot be read: {error.strerror}", file=str(path))]) from error


def _object(line: bytes, path: Path, number: int) -> Object:
    try:
        row: Json = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(f"is not JSON: {error}", path, number) from error
    if not isinstance(row, dict):
        raise _fault("is no object", path, number)
    return row


def _detected(row: Object, path: Path, number: int) -> str:
    found = detect(row)
    if found is None:
        words = f"is a call of no form that is known: {', '.join(FORMATS)}"
        raise _fault(words, path, number, hint="say which one: hosted: {logs: ..., format: ...}")
    return found


def _fault(words: str, path: Path, number: int, hint: str | None = None) -> DataError:
    return DataError([Fault(words, file=str(path), line=number, hint=hint)])
