"""One failing and one passing row for every rule about rows, on the exact line, by both paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unit.data.samples import (
    GOOD,
    PAIR,
    TRIPLE,
    Row,
    assistant,
    chat,
    found,
    scanned,
    system,
    user,
    write_rows,
)

CALL = {"id": "x", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CALL_BROKEN = {**CALL, "function": {"name": "add", "arguments": "{"}}
TOOL_ANSWER = {"role": "tool", "content": "3", "tool_call_id": "y"}
ARGUMENTS = "messages[1].tool_calls[0].function.arguments"
TWO_PROMPTS = {"chosen": [user("a"), assistant("b")], "rejected": [user("z"), assistant("c")]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


def answered(message: str) -> str:
    """A row by hand, since `json.dumps` gives no key twice."""
    return f'{{"messages": [{message}, {{"role": "assistant", "content": "b"}}]}}'


BAD: list[tuple[str, Any, Row, str | None]] = [
    ("D004", "", PAIR, None),
    ("D006", '{"prompt": "a", "completion"', PAIR, None),
    ("D006", '{"prompt": "a" "completion": "b"}', PAIR, None),
    ("D006", '{"prompt": "a", "completion": "\\ud800"}', PAIR, None),
    ("D006", '{"prompt": "a", "completion": 1e999}', PAIR, None),
    ("D006", "[" * 100_000, PAIR, None),
    ("D007", '["a", "b"]', PAIR, None),
    ("D007", "null", PAIR, None),
    ("D008", '{"prompt": "a", "prompt": "b", "completion": "c"}', PAIR, "prompt"),
    ("D008", answered('{"role": "user", "role": "user", "content": "a"}'), GOOD, "role"),
    ("D008", answered('{"role": "user", "cont\\u0065nt": "a", "content": ""}'), GOOD, "content"),
    ("D008", answered('{"role": "user", "content": "", "content": "\\"a\\": b\\\\"}'), GOOD, "content"),
    ("D008", '{"messages": [], ' + answered('{"role": "user", "content": "a"}')[1:], GOOD, "messages"),
    ("D009", PAIR, GOOD, None),
    ("D009", GOOD, PAIR, None),
    ("D009", TRIPLE, PAIR, None),
    ("D010", '{"prompt": "a", "completion": NaN}', PAIR, None),
    ("D010", '{"prompt": "a", "completion": -Infinity}', PAIR, None),
    ("D101", chat(), GOOD, "messages"),
    ("D101", {"messages": "Hi"}, GOOD, "messages"),
    ("D101", chat(user("a"), "b", assistant("c")), GOOD, "messages[1]"),  # type: ignore[arg-type]
    ("D102", chat(user("a"), assistant("b"), id=1), GOOD, "id"),
    ("D102", chat({"from": "human", **user("a")}, assistant("b")), GOOD, "messages[0].from"),
    ("D102", {**PAIR, "score": 1}, PAIR, "score"),
    ("D103", chat({"role": "human", "content": "a"}, assistant("b")), GOOD, "messages[0].role"),
    ("D103", chat(user("a"), {"role": "asistant", "content": "b"}), GOOD, "messages[1].role"),
    ("D103", chat({"content": "a"}, assistant("b")), GOOD, "messages[0].role"),
    ("D104", chat(user(None), assistant("b")), GOOD, "messages[0].content"),
    ("D104", chat({"role": "user"}, assistant("b")), GOOD, "messages[0].content"),
    ("D104", chat(user([{"type": "text", "text": "a"}]), assistant("b")), GOOD, "messages[0].content"),
    ("D104", {"prompt": 5, "completion": "b"}, PAIR, "prompt"),
    ("D105", chat(user(" \n"), assistant("b")), GOOD, "messages[0].content"),
    ("D105", {"prompt": "", "completion": "b"}, PAIR, "prompt"),
    ("D106", chat(user("a"), system("s"), assistant("b")), GOOD, "messages[1].role"),
    ("D107", chat(user("a"), user("b"), assistant("c")), GOOD, "messages[1].role"),
    ("D107", {"prompt": [user("a"), assistant("b")], "completion": "c"}, PAIR, "completion.role"),
    ("D108", chat(user("a"), assistant("b"), user("c")), GOOD, "messages[2].role"),
    ("D109", chat(system("s"), assistant("b")), GOOD, "messages"),
    ("D110", chat(user("a", weight=1), assistant("b")), GOOD, "messages[0].weight"),
    ("D110", chat(user("a"), assistant("b", weight=2)), GOOD, "messages[1].weight"),
    ("D111", chat(user("a"), TOOL_ANSWER, assistant("b")), GOOD, "messages[1].tool_call_id"),
    ("D112", chat(user("a"), assistant(None, tool_calls=[CALL_BROKEN])), GOOD, ARGUMENTS),
    ("D113", chat(user("a"), assistant("b"), tools=[{"type": "function"}]), GOOD, "tools[0]"),
    ("D113", chat(user("a"), assistant("b"), tools="add"), GOOD, "tools"),
    ("D117", chat(user("a"), assistant("b"), tools=[TOOL]), GOOD, "tools"),
    ("D117", chat(user("a"), assistant(None, tool_calls=[CALL])), GOOD, "messages[1].tool_calls"),
    ("D201", {"prompt": "a"}, PAIR, "completion"),
    ("D201", {"prompt": "a", "chosen": "b"}, TRIPLE, "rejected"),
    ("D201", {"chosen": "b", "rejected": "c"}, TRIPLE, "prompt"),
    ("D201", {"prompt": [], "chosen": "b", "rejected": "c"}, TRIPLE, "prompt"),
    ("D202", {"prompt": "a", "chosen": "b", "rejected": " b"}, TRIPLE, "rejected"),
    ("D203", {"prompt": "a", **TWO_PROMPTS}, TRIPLE, "rejected[0]"),
    ("D204", {"prompt": "a", "chosen": [assistant("b"), assistant("c")], "rejected": "d"}, TRIPLE, "chosen"),
    ("D204", {"prompt": "a", "chosen": [user("b")], "rejected": "d"}, TRIPLE, "chosen[0].role"),
    ("D204", {"prompt": "a", "completion": [user("b"), assistant("c")]}, PAIR, "completion"),
    ("D207", {"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]}, TRIPLE, None),
    ("D701", chat(user("a"), assistant("b", weight=0)), GOOD, "messages[1].weight"),
    ("D701", chat(user("a"), assistant(" ")), GOOD, "messages[1].content"),
    ("D701", {"prompt": "a", "completion": "\n"}, PAIR, "completion"),
]  # fmt: skip


@pytest.mark.parametrize("thorough", [False, True], ids=["fast", "full"])
@pytest.mark.parametrize(("rule", "bad", "good", "key"), BAD, ids=[f"{case[0]}-{n}" for n, case in enumerate(BAD)])
def test_a_bad_row_is_found_on_its_line_among_good_ones(
    rule: str, bad: Any, good: Row, key: str | None, thorough: bool, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [good, good, bad, good])

    rows, report = scanned(path, thorough=thorough)

    assert (rule, 3) in found(report)
    assert {line for _, line in found(report)} == {3}
    assert [line for line, _ in rows] == [1, 2, 4]
    assert key in {fault.key for fault in report.faults if fault.rule == rule}


ALSO_GOOD = [
    chat(system("s"), user("a"), assistant("b"), user("c"), assistant("d")),
    chat(assistant("Welcome"), user("a"), assistant("b")),
    chat(user("a"), assistant("b", weight=1)),
    chat(user("a", name="Ada"), assistant("b")),
    chat(user("a"), assistant("b", weight=0), user("c"), assistant("d")),
    chat(user("role"), assistant('"role": "content"')),
    chat(user("a\u2028b"), assistant("\\")),
    chat(user("a"), assistant("b"), tools=None),
]


@pytest.mark.parametrize("thorough", [False, True], ids=["fast", "full"])
@pytest.mark.parametrize("row", ALSO_GOOD)
def test_unusual_rows_without_a_fault_pass(row: Row, thorough: bool, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [GOOD, row])

    rows, report = scanned(path, thorough=thorough)

    assert found(report) == []
    assert len(rows) == 2


def test_every_fault_of_a_row_is_told(tmp_path: Path) -> None:
    row = chat({"role": "human", "contnt": "a"}, user("b"), user(""), assistant(3))

    _, report = scanned(write_rows(tmp_path / "a.jsonl", [row]))

    assert sorted(report.counts) == ["D102", "D103", "D104", "D105", "D107"]
    assert [str(finding) for finding in report.findings][:2] == [
        "a.jsonl:1: D102 error: messages[0].contnt: not a key of this format (did you mean 'content'?)",
        "a.jsonl:1: D103 error: messages[0].role: 'human' is not a role (did you mean 'user'?)",
    ]
    assert report.counts["D104"] == 2


@pytest.mark.parametrize(
    ("key", "meant"), [("value", "content"), ("from", "role"), ("wieght", "weight"), ("tool_call", "tool_calls")]
)
def test_keys_of_other_tools_are_known_by_name(key: str, meant: str, tmp_path: Path) -> None:
    row = chat(user("a", **{key: "x"}), assistant("b"))

    _, report = scanned(write_rows(tmp_path / "a.jsonl", [row]))

    assert f"did you mean {meant!r}?" in report.faults[0].message
