from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from ftorch.core.log import configure


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_is_json_with_level_and_utc_time() -> None:
    stream = io.StringIO()
    configure(stream)

    structlog.get_logger().info("run observed", job="j1")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["job"]) == ("run observed", "info", "j1")
    assert line["timestamp"].endswith("Z")


def test_a_traceback_shows_where_and_never_what_the_variables_held() -> None:
    stream = io.StringIO()
    configure(stream)

    _fail_with_a_key("value-that-nobody-may-see")

    assert "_fail_with_a_key" in stream.getvalue()
    assert "value-that-nobody-may-see" not in stream.getvalue()


def _fail_with_a_key(key: str) -> None:
    env = {"API_KEY": key}
    try:
        raise ValueError(f"{len(env)} keys")
    except ValueError:
        structlog.get_logger().exception("step raised")
