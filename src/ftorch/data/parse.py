"""One line of JSON, looked at closely: why it cannot be read, and what msgspec does not tell (keys given twice)."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ftorch.data.report import Notes

Json = Any
Object = dict[str, Any]

_escaped = re.compile(rb"\\(.)", re.DOTALL).findall
"""The character after each backslash that is not itself escaped."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a line that is not the row it should be."""


def parse_object(line: bytes, notes: Notes, *, is_end: bool = False) -> Object | None:
    """The object in a line, or None where there is none; what is wrong is noted.

    `is_end` says that the file ends here, without a newline.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        notes.add("D001", f"byte {error.start + 1} of the line, 0x{line[error.start]:02X}, is not UTF-8")
        return None
    if not text.strip():
        notes.add("D004", "blank line")
        return None
    try:
        row: Json = msgspec.json.decode(line)
    except UNREADABLE as error:
        _note_broken(text, error, notes, is_end=is_end)
        return None
    if not isinstance(row, dict):
        notes.add("D007", f"a row is an object, not {_kind(row)}", hint=_array_hint(row))
        return None
    _note_repeats(text, notes)
    return row


def hides_pair(line: bytes, quotes: int) -> bool:
    """Whether an object in the line holds a key twice: msgspec keeps the last value and says nothing.

    `quotes` counts those around the keys and strings that were decoded; a dropped pair has two or more of its own.
    Quotes inside a text are the only others, and each follows a backslash.
    """
    inside = line.count(b'"') - quotes
    return inside != 0 and _escaped(line).count(b'"') != inside


class _NotANumberError(ValueError):
    """The line holds NaN or Infinity."""


def _no_constant(name: str) -> None:
    raise _NotANumberError(name)


def _note_broken(text: str, error: Exception, notes: Notes, *, is_end: bool) -> None:
    """Say in words why a line is not JSON. The standard library's parser gives the better place."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except _NotANumberError as found:
        notes.add("D010", f"{found} is not a number in JSON", hint="leave the key out, or write null")
    except json.JSONDecodeError as found:
        if _is_cut(text, found):
            words = "the file ends in the middle of a value" if is_end else "the line ends in the middle of a value"
            notes.add("D006", words, hint=_syntax_hint(text) or "write one whole object per line; was the file cut?")
        else:
            notes.add("D006", f"not JSON: {found.msg} at column {found.colno}", hint=_syntax_hint(text))
    except (ValueError, RecursionError):
        notes.add("D006", f"not JSON: {error}")
    else:
        notes.add("D006", f"not JSON: {error}", hint="half of a surrogate pair or a number out of range")


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())


def _note_repeats(text: str, notes: Notes) -> None:
    def pairs(found: list[tuple[str, Json]]) -> None:
        seen: set[str] = set()
        for key, _ in found:
            if key in seen:
                notes.add("D008", f"the key {key!r} is given twice in one object", key=key)
            seen.add(key)

    try:
        json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        notes.add("D006", "nested too deeply to be read")


def _kind(value: Json) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _array_hint(row: Json) -> str | None:
    if isinstance(row, list) and row and isinstance(row[0], dict):
        return "one object per line: `jq -c '.[]' FILE > rows.jsonl`"
    return None


def _syntax_hint(text: str) -> str | None:
    match text.strip()[:1]:
        case "[":
            return "one object per line: `jq -c '.[]' FILE > rows.jsonl`"
        case "{" if "'" in text:
            return "JSON strings stand in double quotes; write the rows with json.dumps"
        case _:
            return None
