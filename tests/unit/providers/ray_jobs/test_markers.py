from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ftorch.providers.ray_jobs.markers import Marked, marked

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
_AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
_LATER = _AT + timedelta(minutes=4)


def _line(**changes: Any) -> str:
    value = {"v": 1, "kind": "started", "key": KEY, "t": _AT.isoformat(), "folder": f"ftorch/{KEY}"}
    return f"FTORCH_EVENT {json.dumps({**value, 'uri': None, **changes})}"


def _ended(**changes: Any) -> str:
    return _line(**{"kind": "ended", "t": _LATER.isoformat(), "exit_code": 3, **changes})


def test_a_log_says_when_a_run_began_and_how_it_ended() -> None:
    assert marked(f"loading\n{_line()}\nstep 1\n{_ended()}\n", KEY) == Marked(_AT, _LATER, 3)


def test_a_run_that_did_not_say_its_end_was_cut() -> None:
    cut = marked(_line(), KEY)

    assert cut == Marked(_AT)
    assert cut.is_cut


def test_words_in_front_and_behind_do_not_matter() -> None:
    line = f"\x1b[36m(RayTrainWorker pid=811)\x1b[0m {_line()} [repeated 2x across cluster]"

    assert marked(line, KEY) == Marked(_AT)


def test_a_line_that_is_shown_twice_says_the_same() -> None:
    assert marked("\n".join([_line(), _line(), _ended(), _ended()]), KEY) == Marked(_AT, _LATER, 3)


def test_an_end_without_a_beginning_says_nothing() -> None:
    assert marked(_ended(), KEY) is None


@pytest.mark.parametrize(
    "line",
    [
        _line(key="ft-bench1-01m853egkdvypddzfanrkc5c06"),
        _line(v=2),
        _line(t="yesterday"),
        _line(t="2026-11-28T03:00:00"),
        _line()[:-9],
        "FTORCH_EVENT null",
        "FTORCH_EVENT ",
        "loading",
        "",
    ],
)
def test_what_is_no_marker_of_the_run_is_passed_over(line: str) -> None:
    assert marked(line, KEY) is None
