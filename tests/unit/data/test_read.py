"""Files as they come: encodings, line ends, and files that are no rows at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ftorch.core.errors import DataError
from ftorch.data.read import Meter, Reader, Source
from unit.data.samples import GOOD, PAIR, assistant, chat, found, pairs, prepared, scanned, user, write_rows

BAD = b'{"prompt": "a"}'


def test_lines_are_exact_with_crlf(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\r\n".join([json.dumps(PAIR).encode(), BAD, json.dumps(PAIR).encode(), b""]))

    rows, report = scanned(path)

    assert found(report) == [("D005", 1), ("D201", 2)]
    assert [line for line, _ in rows] == [1, 3]


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(PAIR).encode() + b"\n" + json.dumps(PAIR).encode())

    rows, report = scanned(path)

    assert [line for line, _ in rows] == [1, 2]
    assert found(report) == []


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(PAIR).encode() + b'\n{"prompt": "a", "compl')

    _, report = scanned(path)

    assert found(report) == [("D006", 2)]
    assert report.faults[0].message == "the file ends in the middle of a value"


def test_a_line_that_was_cut_in_the_middle_of_a_file_says_so(tmp_path: Path) -> None:
    _, report = scanned(write_rows(tmp_path / "a.jsonl", [PAIR, '{"prompt": "a', PAIR]))

    assert report.faults[0].message == "the line ends in the middle of a value"


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    row = json.dumps(chat(user("a\u2028b\u0085c"), assistant("d")), ensure_ascii=False)

    rows, report = scanned(write_rows(tmp_path / "a.jsonl", [row, BAD.replace(b"prompt", b"messages")]))

    assert [line for line, _ in rows] == [1]
    assert {line for _, line in found(report)} == {2}


def test_a_byte_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [PAIR, '{"prompt": "é"}'.encode("latin-1"), PAIR])

    rows, report = scanned(path)

    assert found(report) == [("D001", 2)]
    assert report.faults[0].message == "byte 13 of the line, 0xE9, is not UTF-8"
    assert len(rows) == 2


def test_a_byte_order_mark_is_refused_and_the_rows_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())

    rows, report = scanned(path)

    assert found(report) == [("D002", 1)]
    assert len(rows) == 1
    assert not report.ok


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   \n"])
def test_a_file_without_rows_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)

    assert "D003" in scanned(path)[1].counts


def test_a_fault_far_into_a_file_keeps_its_line(tmp_path: Path) -> None:
    rows = [chat(user("word " * (1 + number % 700)), assistant("b")) for number in range(1, 4001)]
    rows[3456] = chat(user("a"), assistant("b"), assistant("c"))

    read, report = scanned(write_rows(tmp_path / "a.jsonl", rows))

    assert found(report) == [("D107", 3457)]
    assert len(read) == 3999


def test_a_row_longer_than_the_buffer_is_read(tmp_path: Path) -> None:
    rows, report = scanned(write_rows(tmp_path / "a.jsonl", [chat(user("x" * 3_000_000), assistant("b"))] * 2))

    assert [line for line, _ in rows] == [1, 2]
    assert found(report) == []


def test_the_hash_of_the_file_comes_with_the_pass(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(5000))
    reader = Reader(Source(path, "a.jsonl", "dataset.path"))

    for _ in reader.lines():
        pass

    assert reader.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_progress_reaches_the_end_of_both_passes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(20_000))
    seen: list[tuple[int, int]] = []
    meter = Meter(2 * path.stat().st_size, lambda done, total: seen.append((done, total)))

    for _ in range(2):
        for _ in Reader(Source(path, "a.jsonl", "dataset.path"), meter.advance).lines():
            pass

    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == (2 * path.stat().st_size, 2 * path.stat().st_size)


def test_a_missing_file_names_the_key_the_file_and_its_neighbour(tmp_path: Path) -> None:
    write_rows(tmp_path / "support.jsonl", [PAIR])

    with pytest.raises(DataError) as caught:
        prepared(tmp_path / "suport.jsonl")

    (fault,) = caught.value.faults
    assert (fault.file, fault.key) == ("suport.jsonl", "dataset.path")
    assert fault.message == "no such file (did you mean 'support.jsonl'?)"


def test_a_missing_held_out_file_names_its_own_key(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [PAIR])

    with pytest.raises(DataError) as caught:
        prepared(path, held_out={"path": "test.jsonl"})

    assert caught.value.faults[0].key == "dataset.held_out.path"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"\x1f\x8b\x08\x00", "is a gzip file, not text"),
        ("a.csv", b"PK\x03\x04....", "is a zip or Excel file, not text"),
        ("a.parquet", b"PAR1....", "is a Parquet file, not text"),
        ("a.jsonl", b"ab\x00\x01", "is a binary file, not text"),
        ("a.jsonl", "{}".encode("utf-16"), "is written in UTF-16"),
        ("a.json", b"[{}]", ".json: ftorch reads .jsonl, .ndjson, .csv"),
        ("a.txt", b"hello", ".txt: ftorch reads .jsonl, .ndjson, .csv"),
    ],
)
def test_a_file_that_is_no_rows_is_refused_at_once(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(DataError) as caught:
        prepared(path)

    assert caught.value.faults[0].message == words
    assert caught.value.hint


def test_a_json_array_in_a_jsonl_file_is_told_how_to_become_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([PAIR, PAIR], indent=1))

    _, report = scanned(path)

    assert ("D006", 1) in found(report)
    assert "jq -c" in (report.faults[0].hint or "")
