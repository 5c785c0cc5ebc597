from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.providers.base import LogPage
from ftorch.providers.ray import log
from ftorch.providers.ray.log import KeptLogs, page


def test_a_running_job_shows_whole_lines_only() -> None:
    first = page("one\ntwo\nthr", None, is_over=False)
    second = page("one\ntwo\nthree\n", first.cursor, is_over=False)

    assert (list(first.lines), list(second.lines), second.is_last) == (["one", "two"], ["three"], False)


def test_an_ended_job_shows_its_half_last_line_too() -> None:
    shown = page("one\ntwo", None, is_over=True)

    assert (list(shown.lines), shown.is_last) == (["one", "two"], True)


def test_marker_lines_are_not_for_people() -> None:
    shown = page('one\nFTORCH_EVENT {"v": 1}\n(pid=3) FTORCH_EVENT {"v": 1}\ntwo\n', None, is_over=True)

    assert list(shown.lines) == ["one", "two"]


def test_a_long_log_comes_in_pages_and_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_PAGE", 16)
    text = "".join(f"line {number}\n" for number in range(9)) + "x" * 40 + "\nend"
    lines = ""
    cursor: str | None = None
    pages: list[LogPage] = []
    while not pages or not pages[-1].is_last:
        pages.append(page(text, cursor, is_over=True))
        cursor = pages[-1].cursor
        lines += "".join(pages[-1].lines)

    assert lines == text.replace("\n", "")
    assert [one.is_last for one in pages].count(True) == 1


def test_a_kept_log_is_read_again_and_another_one_is_not_there(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path / "logs")
    kept.keep("ft-1", "one\n")

    assert (kept.read("ft-1"), kept.read("ft-2")) == ("one\n", None)
