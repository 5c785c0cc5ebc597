"""CSV files and flat JSON rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.errors import DataError
from unit.data.samples import DPO, found, lines, prepared, scanned, write_rows

COLUMNS = {"text": "question", "label": "category"}


def csv(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_lines_are_those_where_a_row_begins(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", 'question,category\n"one\ntwo\nthree",a\n,b\n"four\n\nfive",c\nsix,\n')

    rows, report = scanned(path, columns=COLUMNS)

    assert [line for line, _ in rows] == [2, 6]
    assert rows[0][1].prompt[0].content == "one\ntwo\nthree"
    assert [(fault.rule, fault.line, fault.key) for fault in report.faults] == [
        ("D105", 5, "question"),
        ("D701", 9, "category"),
    ]


def test_lines_are_exact_with_crlf_and_blank_lines(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "question,category\r\na,b\r\n\r\n,d\r\n")

    rows, report = scanned(path, columns=COLUMNS)

    assert [line for line, _ in rows] == [2]
    assert found(report) == [("D005", 1), ("D004", 3), ("D105", 4)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("question,category\na,b\nc,d,e\n", 3, "3 fields, the header has 2"),
        ('question,category\na,b\n"c,d\ne,f\n', 3, "a quoted field that begins here is not closed (read to line 4)"),
        ('question,category\n"a" x,b\nc,d\n', 2, "not CSV: ',' expected after '\"'"),
    ],
)
def test_rows_that_are_not_csv_are_told(text: str, line: int, words: str, tmp_path: Path) -> None:
    _, report = scanned(csv(tmp_path / "a.csv", text), columns=COLUMNS)

    assert found(report) == [("D006", line)]
    assert report.faults[0].message == words


def test_a_row_with_a_bad_byte_is_left_out_and_the_next_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'question,category\n"a\nb\xff",c\nd,e\n')

    rows, report = scanned(path, columns=COLUMNS)

    assert found(report) == [("D001", 3)]
    assert [line for line, _ in rows] == [4]


@pytest.mark.parametrize("text", ["", "question,category\n", "question,category"])
def test_a_table_without_rows_is_an_error(text: str, tmp_path: Path) -> None:
    assert "D003" in scanned(csv(tmp_path / "a.csv", text), columns=COLUMNS)[1].counts


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "question,categry\na,b\n")

    with pytest.raises(
        DataError, match=r"a.csv:1: D201: dataset.columns: no column 'category' .did you mean 'categry'"
    ) as caught:
        prepared(path, columns=COLUMNS)

    assert caught.value.hint == "the columns are: question, categry"


def test_columns_that_nobody_named_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which columns are prompt and answer") as caught:
        prepared(csv(tmp_path / "a.csv", "question,category\na,b\n"))

    assert caught.value.faults[0].key == "dataset.columns"


def test_columns_without_an_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no answer"):
        prepared(csv(tmp_path / "a.csv", "question,category\na,b\n"), columns={"text": "question"})


def test_a_csv_file_is_never_of_a_chat_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file holds columns, not messages rows"):
        prepared(csv(tmp_path / "a.csv", "a,b\n"), format="messages")


def test_flat_json_rows_are_tables_too(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "category": "b", "id": 1, "more": {"x": [1]}},
        {"question": "a", "category": 3},
        {"question": "a"},
        '{"question": "a", "category": "b", "category": "c"}',
        '{"question": "a", "category": "b", "more": {"x": 1, "x": 2}}',
    ]

    good, report = scanned(write_rows(tmp_path / "a.jsonl", rows), columns=COLUMNS)

    assert [line for line, _ in good] == [1]
    assert found(report) == [("D104", 2), ("D201", 3), ("D008", 4), ("D008", 5)]


def test_chosen_and_rejected_columns_make_preferences(tmp_path: Path) -> None:
    columns = {"text": "q", "chosen": "good", "rejected": "bad"}
    text = "q,good,bad\n" + "".join(f"Ask {n},yes {n},no {n}\n" for n in range(60))
    done = prepared(csv(tmp_path / "a.csv", text), DPO, columns=columns)

    done.write(tmp_path / "out")

    first = lines(tmp_path / "out" / "train.jsonl")[0]
    assert list(first) == ["prompt", "chosen", "rejected"]
    assert first["chosen"][0]["content"].startswith("yes ")


def test_equal_answers_in_columns_are_found(tmp_path: Path) -> None:
    columns = {"text": "q", "chosen": "good", "rejected": "bad"}

    _, report = scanned(csv(tmp_path / "a.csv", "q,good,bad\na,b,b \n"), columns=columns)

    assert found(report) == [("D202", 2)]
