"""What the server finds in an uploaded file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftorch.emulators.together.rules import InvalidFileError, check
from unit.emulators.desk import Desk, Row, chats, jsonl, preferences

_USER = {"role": "user", "content": "2 + 2"}
_ASSISTANT = {"role": "assistant", "content": "4"}
_CHAT: Row = {"messages": [_USER, _ASSISTANT]}
_TOOL_CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}
_PAIR: dict[str, Any] = dict(preferences(1)[0])


@pytest.mark.parametrize(
    ("row", "dataset_format"),
    [
        (_CHAT, "CONVERSATION"),
        ({"messages": [{"role": "system", "content": "Be brief."}, _USER, _ASSISTANT]}, "CONVERSATION"),
        ({"messages": [_USER, {**_ASSISTANT, "weight": 0}, _USER, {**_ASSISTANT, "weight": 1}]}, "CONVERSATION"),
        ({"messages": [_USER, _TOOL_CALL, {"role": "tool", "content": "4"}, _ASSISTANT], "tools": []}, "CONVERSATION"),
        ({**_CHAT, "weight": 0.5}, "CONVERSATION"),
        ({"prompt": "2 + 2", "completion": "4"}, "INSTRUCTION"),
        ({"text": "2 + 2 = 4"}, "GENERAL"),
        (_PAIR, "PREFERENCE_OPENAI"),
    ],
)
def test_rows_of_every_format_pass(row: Row, dataset_format: str) -> None:
    assert check(jsonl([row, row])).dataset_format == dataset_format


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"foo": 1}, "Could not detect a format for the line 2"),
        ({"prompt": "2 + 2"}, "Could not detect a format for the line 2"),
        ({"prompt": "2", "chosen": [_ASSISTANT], "rejected": [_ASSISTANT]}, "Could not detect a format for the line 2"),
        ({**_CHAT, "text": "both"}, "Found multiple dataset formats.*on line 2"),
        ({"text": "another format"}, "Got CONVERSATION and GENERAL on line 2"),
        ({**_CHAT, "label": "maths"}, 'Found extra column "label" in the line 2'),
        ({**_CHAT, "weight": -1}, "sample weight on line 2"),
        ({"messages": []}, "line 2 of the input file. Expected a non-empty list"),
        ({"messages": "2 + 2"}, "line 2 of the input file. Expected a non-empty list"),
        ({"messages": ["2 + 2"]}, "line 2 .*Expected a dictionary"),
        ({"messages": [{"content": "4"}]}, "Field `role` is missing.*line 2"),
        ({"messages": [{"role": "user"}]}, "Field `content` is missing.*line 2"),
        ({"messages": [{"role": "user", "content": 4}]}, "line 2 in the column content.*Found int"),
        ({"messages": [{"role": "human", "content": "4"}]}, "invalid role `human` in the messages on the line 2"),
        ({"messages": [_USER, {**_ASSISTANT, "mood": "good"}]}, 'extra column "mood" in a message on the line 2'),
        ({"messages": [_USER, {**_ASSISTANT, "weight": 2}]}, "Weight must be either 0 or 1 on line 2"),
        ({"messages": [_USER, _USER, _ASSISTANT]}, "role turns on line 2"),
        ({"messages": [_ASSISTANT, _USER]}, "line 2 .*must start with system or user"),
        ({"messages": [_USER]}, "assistant role must be present in line 2"),
    ],
)
def test_a_wrong_line_is_named(row: Row, words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        check(jsonl([_CHAT, row]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": [_USER]}, "line 1, the `input` field must be a dictionary"),
        ({"input": {}}, "line 1, the `input` field must be a dictionary"),
        ({"input": {"messages": [_USER, _ASSISTANT]}}, "line 1, the `input` ends with the assistant"),
        ({"preferred_output": _ASSISTANT}, "line 1, the `preferred_output` list must contain exactly one message"),
        ({"preferred_output": []}, "line 1, the `preferred_output` list must contain exactly one message"),
        (
            {"non_preferred_output": [_ASSISTANT, _ASSISTANT]},
            "line 1, the `non_preferred_output` list must contain exactly one message",
        ),
        ({"non_preferred_output": [_USER]}, "line 1, the `non_preferred_output` must contain an assistant message"),
    ],
)
def test_a_wrong_pair_is_named(changes: Row, words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        check(jsonl([{**_PAIR, **changes}]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 samples"),
        (b"\xef\xbb\xbf" + jsonl([_CHAT]), "byte order mark"),
        (json.dumps({"text": "caf\u00e9"}, ensure_ascii=False).encode("latin-1"), "not UTF-8"),
        (b"[1, 2]\n", "Invalid format on line 1"),
        (jsonl([_CHAT]) + b"{half\n", "Unexpected format on line 2"),
        (jsonl([_CHAT]) + b"\n" + jsonl([_CHAT]), "Unexpected format on line 2"),
    ],
)
def test_a_file_that_is_no_jsonl_is_named(content: bytes, words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        check(content)


def test_the_check_takes_its_time_and_is_told_by_its_words(desk: Desk) -> None:
    content = jsonl([*chats(3), {"messages": [_USER]}])
    file_id = desk.send(desk.declare(content), content)

    seen = []
    for _ in range(3):
        seen.append(desk.get(f"/v1/files/{file_id}"))
        desk.clock.advance(1)

    assert [file["processing_status"] for file in seen] == ["QUEUED", "RUNNING", "INVALID_FORMAT"]
    assert "validation_report" not in seen[1]
    assert seen[2]["validation_report"] == {
        "valid": False,
        "error_type": "INVALID_FORMAT",
        "error": "At least one message with the assistant role must be present in line 4.",
        "file_id": file_id,
    }
