from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ftorch.emulators.together.rules import check
from ftorch.manifest.schema import Dpo, Sft
from ftorch.providers.together.rows import convert

SYSTEM, QUESTION, ANSWER, MORE, LAST = (
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "2 + 2 \u2260 5?"},
    {"role": "assistant", "content": "Right."},
    {"role": "user", "content": 'And "3"?'},
    {"role": "assistant", "content": "Too."},
)


def converted(rows: list[dict[str, Any]], method: Sft | Dpo, folder: Path) -> bytes:
    source, target = folder / "train.jsonl", io.BytesIO()
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    convert(source, target, method)
    return target.getvalue()


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_completion_becomes_a_conversation(tmp_path: Path) -> None:
    found = lines(converted([{"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}], Sft(type="sft"), tmp_path))

    assert found == [{"messages": [SYSTEM, QUESTION, ANSWER]}]


def test_earlier_answers_weigh_nothing_for_only_the_last_is_learned(tmp_path: Path) -> None:
    row = {"prompt": [QUESTION, ANSWER, MORE], "completion": [LAST]}

    found = lines(converted([row], Sft(type="sft"), tmp_path))

    assert found == [{"messages": [QUESTION, {**ANSWER, "weight": 0}, MORE, LAST]}]


def test_where_all_is_learned_earlier_answers_are_too(tmp_path: Path) -> None:
    row = {"prompt": [QUESTION, ANSWER, MORE], "completion": [LAST]}

    found = lines(converted([row], Sft(type="sft", train_on="all"), tmp_path))

    assert found == [{"messages": [QUESTION, ANSWER, MORE, LAST]}]


def test_a_preference_keeps_both_answers(tmp_path: Path) -> None:
    row = {"prompt": [QUESTION, ANSWER, MORE], "chosen": [LAST], "rejected": [ANSWER]}

    found = lines(converted([row], Dpo(type="dpo"), tmp_path))

    assert found == [
        {
            "input": {"messages": [QUESTION, ANSWER, MORE]},
            "preferred_output": [LAST],
            "non_preferred_output": [ANSWER],
        }
    ]


@pytest.mark.parametrize(
    ("row", "method", "found"),
    [
        ({"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}, Sft(type="sft"), "CONVERSATION"),
        ({"prompt": [QUESTION, ANSWER, MORE], "completion": [LAST]}, Sft(type="sft"), "CONVERSATION"),
        ({"prompt": [QUESTION], "chosen": [LAST], "rejected": [ANSWER]}, Dpo(type="dpo"), "PREFERENCE_OPENAI"),
    ],
)
def test_the_rows_pass_the_service_s_own_check(
    tmp_path: Path, row: dict[str, Any], method: Sft | Dpo, found: str
) -> None:
    assert check(converted([row] * 3, method, tmp_path)).dataset_format == found


def test_the_same_rows_give_the_same_bytes_line_for_line(tmp_path: Path) -> None:
    rows = [{"prompt": [QUESTION], "completion": [{**ANSWER, "content": f"{number}\n{number}"}]} for number in range(9)]

    first, second = (converted(rows, Sft(type="sft"), tmp_path) for _ in range(2))

    assert first == second
    assert [line["messages"][-1]["content"] for line in lines(first)] == [f"{number}\n{number}" for number in range(9)]
    assert first.count(b"\n") == len(rows)
