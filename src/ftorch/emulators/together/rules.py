"""The server's own check of an uploaded file: one format per file, real rules for each, words that name the line.

The words are those that the service's first SDK had before its check moved to the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "GENERAL": ("text",),
    "CONVERSATION": ("messages",),
    "INSTRUCTION": ("prompt", "completion"),
    "PREFERENCE_OPENAI": ("input", "preferred_output", "non_preferred_output"),
}
_EXTRA_COLUMNS: Mapping[str, tuple[str, ...]] = {"CONVERSATION": ("tools",)}
_ROLES = ("system", "user", "assistant", "tool")
_MESSAGE_KEYS = {"role", "content", "weight", "tool_calls", "tool_call_id", "name", "reasoning", "reasoning_content"}
_OUTPUTS = ("preferred_output", "non_preferred_output")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InvalidFileError(ValueError):
    """The file is not one that a model can be tuned with."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that passed: its format and its rows."""

    dataset_format: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def is_preference(self) -> bool:
        return self.dataset_format == "PREFERENCE_OPENAI"


def check(content: bytes) -> Checked:
    """Read a JSONL file whole. Raises InvalidFileError with the first thing that is wrong and its line."""
    rows = list(_rows(content))
    if not rows:
        raise InvalidFileError("Processing the file resulted in only 0 samples. Our minimum is 1 samples.")
    found: str | None = None
    for number, row in enumerate(rows, start=1):
        one = _format_of(row, number)
        if found not in (None, one):
            raise InvalidFileError(
                f"Found multiple dataset formats in the input file. Got {found} and {one} on line {number}."
            )
        found = one
        _check_columns(row, one, number)
        _CHECKS[one](row, number)
    return Checked(found or "", tuple(rows))


def _rows(content: bytes) -> Iterator[Mapping[str, Any]]:
    if content.startswith(_BYTE_ORDER_MARK):
        raise InvalidFileError("The file starts with a byte order mark. Please save it as UTF-8 without one.")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidFileError(f"File is not UTF-8 encoded. Error raised: {error}.") from error
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        yield _row(line, number)


def _row(line: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidFileError(f"Error parsing json payload. Unexpected format on line {number}.") from error
    if not isinstance(row, dict):
        raise InvalidFileError(
            f"Error parsing file. Invalid format on line {number} of the input file. "
            "Datasets must follow text, conversational, instruction or preference format."
        )
    return row


def _format_of(row: Mapping[str, Any], number: int) -> str:
    fitting = [name for name, columns in _COLUMNS.items() if all(column in row for column in columns)]
    if len(fitting) > 1:
        raise InvalidFileError(
            f"Found multiple dataset formats in the input file. Got {fitting[0]} and {fitting[1]} on line {number}."
        )
    if not fitting:
        raise InvalidFileError(
            f"Error parsing file. Could not detect a format for the line {number} with the columns: {list(row)}"
        )
    return fitting[0]


def _check_columns(row: Mapping[str, Any], dataset_format: str, number: int) -> None:
    known = {*_COLUMNS[dataset_format], *_EXTRA_COLUMNS.get(dataset_format, ()), "weight"}
    for column in row:
        if column not in known:
            raise InvalidFileError(f'Found extra column "{column}" in the line {number}.')
    weight = row.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise InvalidFileError(f"The sample weight on line {number} must be a number that is not negative.")


def _check_texts(row: Mapping[str, Any], columns: Sequence[str], number: int) -> None:
    for column in columns:
        if not isinstance(row[column], str):
            raise InvalidFileError(
                f'Invalid value type for "{column}" key on line {number}. Expected string. Found {_type(row[column])}.'
            )


def _check_general(row: Mapping[str, Any], number: int) -> None:
    _check_texts(row, _COLUMNS["GENERAL"], number)


def _check_instruction(row: Mapping[str, Any], number: int) -> None:
    _check_texts(row, _COLUMNS["INSTRUCTION"], number)


def _check_conversation(row: Mapping[str, Any], number: int) -> None:
    messages = row["messages"]
    _check_messages(messages, number)
    if messages[0]["role"] not in ("system", "user"):
        raise InvalidFileError(
            f"Invalid role turns on line {number} of the input file. A conversation must start with system or user."
        )
    if all(message["role"] != "assistant" for message in messages):
        raise InvalidFileError(f"At least one message with the assistant role must be present in line {number}.")


def _check_preference(row: Mapping[str, Any], number: int) -> None:
    if not isinstance(row["input"], dict) or "messages" not in row["input"]:
        raise InvalidFileError(
            f"The dataset is malformed on line {number}, "
            "the `input` field must be a dictionary that contains a `messages` field."
        )
    _check_messages(row["input"]["messages"], number)
    if row["input"]["messages"][-1]["role"] == "assistant":
        raise InvalidFileError(f"The dataset is malformed on line {number}, the `input` ends with the assistant.")
    for name in _OUTPUTS:
        _check_output(row[name], name, number)


def _check_output(output: Any, name: str, number: int) -> None:
    if not isinstance(output, list) or len(output) != 1:
        raise InvalidFileError(
            f"The dataset is malformed on line {number}, the `{name}` list must contain exactly one message."
        )
    _check_messages(output, number)
    if output[0]["role"] != "assistant":
        raise InvalidFileError(
            f"The dataset is malformed on line {number}, the `{name}` must contain an assistant message."
        )


def _check_messages(messages: Any, number: int) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidFileError(
            f"Invalid format on line {number} of the input file. Expected a non-empty list of messages."
        )
    previous = None
    for message in messages:
        _check_message(message, number)
        if message["role"] == previous != "tool":
            raise InvalidFileError(
                f"Invalid role turns on line {number} of the input file. "
                "`user` and `assistant` roles must alternate user/assistant/user/assistant/..."
            )
        previous = message["role"]


def _check_message(message: Any, number: int) -> None:
    if not isinstance(message, dict):
        raise InvalidFileError(
            f"Invalid format on line {number} of the input file. "
            f"Expected a dictionary in the messages list. Found {_type(message)}"
        )
    if "role" not in message:
        raise InvalidFileError(f"Field `role` is missing for a turn `{message}` on line {number} of the input file.")
    if message["role"] not in _ROLES:
        raise InvalidFileError(
            f"Found invalid role `{message['role']}` in the messages on the line {number}. "
            f"Possible roles in the conversation are: {list(_ROLES)}"
        )
    if unknown := sorted(set(message) - _MESSAGE_KEYS):
        raise InvalidFileError(f'Found extra column "{unknown[0]}" in a message on the line {number}.')
    _check_content(message, number)
    if message.get("weight", 1) not in (0, 1):
        raise InvalidFileError(f"Weight must be either 0 or 1 on line {number}")


def _check_content(message: Mapping[str, Any], number: int) -> None:
    if isinstance(message.get("content"), str) or (message.get("content") is None and message.get("tool_calls")):
        return
    if "content" not in message:
        raise InvalidFileError(f"Field `content` is missing for a turn `{message}` on line {number} of the input file.")
    raise InvalidFileError(
        f"Invalid format on line {number} in the column content for turn `{message}` of the input file. "
        f"Expected string. Found {_type(message['content'])}"
    )


def _type(value: object) -> str:
    return type(value).__name__


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], int], None]] = {
    "GENERAL": _check_general,
    "CONVERSATION": _check_conversation,
    "INSTRUCTION": _check_instruction,
    "PREFERENCE_OPENAI": _check_preference,
}
