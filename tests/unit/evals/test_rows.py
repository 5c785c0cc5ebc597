"""Scores files: of the right rows, each once, in the order of the held-out set."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import DataError
from ftorch.evals.rows import HeldOutRow, read_held_out, read_scores

ROWS = [HeldOutRow(letter * 64, ({"role": "user", "content": letter},), letter.upper()) for letter in "abc"]


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def line(letter: str, **more: object) -> dict[str, object]:
    return {"row_sha256": letter * 64, "output": letter.upper(), **more}


def test_scores_come_in_the_order_of_the_held_out_rows_with_their_references(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", line("c"), line("a", cost="0.000125", latency_ms=12), line("b"))

    found = read_scores(path, ROWS)

    assert [row.output for row in found] == ["A", "B", "C"]
    assert [row.reference for row in found] == ["A", "B", "C"]
    assert found[0].cost == Decimal("0.000125")
    assert found[0].latency_ms == 12.0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line("a"), line("b"), line("d")], ":3: row dddddddddddd is not one of the held-out rows"),
        ([line("a"), line("b"), line("b")], ":3: row bbbbbbbbbbbb is there twice"),
        ([line("a")], "2 of 3 held-out rows have no score: bbbbbbbbbbbb, cccccccccccc"),
        ([], "3 of 3 held-out rows have no score"),
        ([line("a"), "{"], ":2: is not JSON"),
        ([line("a"), "[1]"], ":2: is not an object"),
        ([{"row_sha256": "a" * 64}], ":1: 'output' is missing"),
        ([{"output": "x"}], ":1: 'row_sha256' is missing"),
        ([{**line("a"), "output": 7}], ":1: cannot be read: must be text, not 7"),
        ([{**line("a"), "cost": "much"}], ":1: cannot be read"),
        ([{**line("a"), "latency_ms": "slow"}], ":1: cannot be read"),
    ],
)
def test_what_is_no_score_of_these_rows_is_refused_at_its_line(tmp_path: Path, lines: list[object], words: str) -> None:
    path = write(tmp_path / "scores.jsonl", *lines)

    with pytest.raises(DataError) as refused:
        read_scores(path, ROWS)

    assert words in str(refused.value)


def test_scores_of_other_rows_name_the_next_command(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", line("d"))

    with pytest.raises(DataError) as refused:
        read_scores(path, ROWS)

    assert "ftorch eval JOB --prompts FILE" in (refused.value.hint or "")


def test_a_missing_scores_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(tmp_path / "none.jsonl", ROWS)


def test_frozen_held_out_rows_are_named_by_the_hash_of_their_line(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    pair = {"prompt": row["prompt"], "chosen": row["completion"], "rejected": row["completion"]}
    path = write(tmp_path / "held_out.jsonl", row, pair)

    first, second = read_held_out(path)

    assert len(first.sha256) == 64
    assert (first.reference, second.reference) == ("a", None)
