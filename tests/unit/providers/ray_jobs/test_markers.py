from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ftorch.providers.ray_jobs.markers import Marker, markers

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
_AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


def _line(**changes: Any) -> str:
    value = {"v": 1, "kind": "started", "key": KEY, "t": _AT.isoformat(), "folder": f"ftorch/{KEY}"}
    return f"FTORCH_EVENT {json.dumps({**value, 'uri': None, **changes})}"


def test_a_marker_says_when_and_where() -> None:
    assert markers(["loading", _line()], KEY) == [Marker("started", _AT, f"ftorch/{KEY}", None)]


def test_the_last_marker_has_the_exit_code_and_the_hash_of_the_result() -> None:
    (marker,) = markers([_line(kind="ended", exit_code=0, sha256="ab")], KEY)

    assert (marker.exit_code, marker.sha256) == (0, "ab")


def test_words_in_front_and_behind_do_not_matter() -> None:
    line = f"\x1b[36m(RayTrainWorker pid=811)\x1b[0m {_line()} [repeated 2x across cluster]"

    assert len(markers([line], KEY)) == 1


def test_a_line_that_is_shown_twice_counts_once() -> None:
    assert len(markers([_line(), _line(), _line(kind="ended", exit_code=1)], KEY)) == 2


@pytest.mark.parametrize(
    "line",
    [
        _line(key="ft-bench1-01m853egkdvypddzfanrkc5c06"),
        _line(v=2),
        _line(t="yesterday"),
        _line()[:-9],
        "FTORCH_EVENT null",
        "FTORCH_EVENT ",
    ],
)
def test_what_is_no_marker_of_the_run_is_passed_over(line: str) -> None:
    assert markers([line], KEY) == []
