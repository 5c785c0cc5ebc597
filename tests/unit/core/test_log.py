from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from ftorch.core import log
from ftorch.core.log import configure

KEY = "value-that-nobody-may-see"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    log.silence()


def test_a_line_is_json_with_level_and_utc_time() -> None:
    stream = io.StringIO()
    configure(stream)

    structlog.get_logger().info("run observed", job="j1")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["job"]) == ("run observed", "info", "j1")
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_words_and_the_file_json(tmp_path: Path) -> None:
    terminal, file = Terminal(), tmp_path / "daemon.log"
    configure(terminal, file=file)

    structlog.get_logger().warning("step failed", code="provider")

    assert "step failed" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json.loads(file.read_text())["code"] == "provider"


def test_what_is_bound_is_in_every_line() -> None:
    stream = io.StringIO()
    configure(stream)

    with bound_contextvars(job="j1", run="r1"):
        structlog.get_logger().info("sent")

    assert json.loads(stream.getvalue()).items() >= {"job": "j1", "run": "r1"}.items()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "words"])
def test_a_traceback_shows_where_and_never_what_the_variables_held(stream: io.StringIO) -> None:
    configure(stream)

    _fail_with_a_key(KEY)

    assert "_fail_with_a_key" in stream.getvalue()
    assert KEY not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "words"])
def test_the_words_of_an_exception_are_redacted_also_those_of_its_cause(stream: io.StringIO) -> None:
    configure(stream, secrets=[KEY])

    try:
        try:
            raise ValueError(f"refused {KEY}")
        except ValueError as error:
            raise RuntimeError({"headers": KEY}) from error
    except RuntimeError:
        structlog.get_logger().exception("step raised")

    assert "refused" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_what_a_package_says_comes_into_the_same_file_from_warning_up(tmp_path: Path) -> None:
    configure(file=tmp_path / "daemon.log", secrets=[KEY])

    logging.getLogger("together.client").info("asked")
    logging.getLogger("together.client").warning("retrying %s", {"Authorization": f"Bearer {KEY}"})
    warnings.warn("old call", DeprecationWarning, stacklevel=1)

    lines = [json.loads(line) for line in (tmp_path / "daemon.log").read_text().splitlines()]
    assert [line["logger"] for line in lines] == ["together.client", "py.warnings"]
    assert lines[0]["level"] == "warning"
    assert KEY not in (tmp_path / "daemon.log").read_text()


def test_the_file_is_rotated_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_BYTES", 1000)
    configure(file=tmp_path / "daemon.log")

    for number in range(60):
        structlog.get_logger().info("run observed", number=number)

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_daemon_that_has_nothing_to_say_makes_no_file(tmp_path: Path) -> None:
    configure(file=tmp_path / "daemon.log")

    assert not list(tmp_path.iterdir())


def test_a_line_that_cannot_be_written_is_not_printed_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(file=tmp_path / "gone" / "daemon.log", secrets=[KEY])

    logging.getLogger("together").error("refused %s", KEY)

    assert "a line of the log was lost: FileNotFoundError" in capsys.readouterr().err


def test_configuring_again_replaces_what_was_there() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(first)
    configure(second)

    structlog.get_logger().info("run observed")

    assert (first.getvalue(), len(second.getvalue().splitlines())) == ("", 1)


def test_nothing_is_left_of_it_when_it_is_undone() -> None:
    before = list(logging.getLogger().handlers)
    configure(io.StringIO())

    log.silence()

    assert logging.getLogger().handlers == before


def _fail_with_a_key(key: str) -> None:
    env = {"API_KEY": key}
    try:
        raise ValueError(f"{len(env)} keys")
    except ValueError:
        structlog.get_logger().exception("step raised")
