from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftorch.core.errors import DataError
from ftorch.data.detect import detect
from ftorch.data.read import Source
from ftorch.manifest.schema import DataFormat, Dataset
from unit.data.samples import DPO, GOOD, PAIR, SFT, TRIPLE, Row, assistant, found, prepared, scanned, user, write_rows

PREFERRED = {
    "input": {"messages": [user("a")]},
    "preferred_output": [assistant("b")],
    "non_preferred_output": [assistant("c")],
}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (GOOD, DataFormat.MESSAGES),
        (PAIR, DataFormat.PROMPT_COMPLETION),
        ({"prompt": [user("a")], "completion": [assistant("b")]}, DataFormat.PROMPT_COMPLETION),
        (TRIPLE, DataFormat.PREFERENCE),
        ({"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]}, DataFormat.PREFERENCE),
        (PREFERRED, DataFormat.PREFERENCE),
        ({"text": "a", "label": "b", "id": 3}, DataFormat.COLUMNS),
        ({"text": "a", "chosen": "b", "rejected": "c"}, DataFormat.COLUMNS),
    ],
)
def test_the_first_row_tells_the_format(row: Row, name: DataFormat, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ["", "broken", row])

    form = detect(Source(path, "a.jsonl", "dataset.path"), Dataset(path="a.jsonl"))

    assert form.name is name
    assert len(scanned(path)[0]) == 1


def test_both_spellings_of_preferences_may_stand_in_one_file(tmp_path: Path) -> None:
    rows, report = scanned(write_rows(tmp_path / "a.jsonl", [PREFERRED, TRIPLE]))

    assert len(rows) == 2
    assert report.ok


def test_a_format_that_the_manifest_names_wins_over_the_first_row(tmp_path: Path) -> None:
    _, report = scanned(write_rows(tmp_path / "a.jsonl", [PAIR, GOOD]), format="messages")

    assert found(report) == [("D009", 1)]


@pytest.mark.parametrize(
    ("row", "tool"),
    [
        ({"conversations": [{"from": "human", "value": "a"}]}, "ShareGPT"),
        ({"instruction": "a", "output": "b"}, "Alpaca"),
    ],
)
def test_formats_of_other_tools_are_named_and_a_row_is_shown(row: Row, tool: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [row])

    with pytest.raises(DataError) as caught:
        prepared(path)

    assert str(caught.value) == f"a.jsonl:1: dataset.format: {tool} rows are not read yet"
    assert '{"prompt": "...", "completion": "..."}' in (caught.value.hint or "")


def test_unknown_keys_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no format has the keys 'x', 'y'"):
        prepared(write_rows(tmp_path / "a.jsonl", [{"x": 1, "y": 2}]))


@pytest.mark.parametrize(
    ("method", "row", "words"),
    [(SFT, TRIPLE, "method sft learns from completion rows"), (DPO, GOOD, "method dpo learns from preference rows")],
)
def test_rows_that_the_method_cannot_learn_from_are_refused(method: Any, row: Row, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        prepared(write_rows(tmp_path / "a.jsonl", [row]), method)

    assert caught.value.faults[0].key == "method.type"
    assert f"format {'preference' if row is TRIPLE else 'messages'}" in caught.value.faults[0].message
    assert caught.value.hint
