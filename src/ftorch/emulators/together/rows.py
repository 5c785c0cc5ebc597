"""Rows as the service reads them: how many tokens they have, and what they are to a trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_BYTES_PER_TOKEN = 4
_TOKENS_PER_ROW = 4
_Row = Mapping[str, Any]
_Message = Mapping[str, Any]


def tokens(row: _Row) -> int:
    """A stand-in for the tokenizer: a token for every four bytes of the row's texts, and four for the template."""
    size = sum(len(text.encode()) for text in _texts(row))
    return -(-size // _BYTES_PER_TOKEN) + _TOKENS_PER_ROW


def count_tokens(rows: Sequence[_Row], *, max_length: int, packs: bool) -> int:
    """What a pass over the rows is billed for. Without packing every row counts as a full sequence."""
    if not packs:
        return len(rows) * max_length
    return sum(min(tokens(row), max_length) for row in rows)


def trainer_row(row: _Row) -> dict[str, Any]:
    """The row as `ftorch.trainer` wants it: lists of messages with role and content."""
    if "input" in row:
        return {
            "prompt": _plain(row["input"]["messages"]),
            "chosen": _plain(row["preferred_output"]),
            "rejected": _plain(row["non_preferred_output"]),
        }
    if "messages" in row:
        return _conversation(row["messages"])
    prompt, completion = (row["prompt"], row["completion"]) if "prompt" in row else ("", row["text"])
    return {"prompt": [_message("user", prompt)], "completion": [_message("assistant", completion)]}


def _conversation(messages: Sequence[_Message]) -> dict[str, Any]:
    """Split before the last turn of the assistant: the trainer learns one completion per row."""
    last = max(place for place, message in enumerate(messages) if message["role"] == "assistant")
    prompt = messages[:last] or [_message("user", "")]
    return {"prompt": _plain(prompt), "completion": _plain(messages[last : last + 1])}


def _plain(messages: Sequence[_Message]) -> list[dict[str, str]]:
    return [_message(message["role"], message.get("content") or "") for message in messages]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, dict):
        return [text for key, one in value.items() if key != "role" for text in _texts(one)]
    return [json.dumps(value)]
