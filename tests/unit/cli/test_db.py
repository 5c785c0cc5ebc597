"""`ftorch db`, run in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftorch.cli.app import run
from ftorch.cli.main import _COMMANDS
from ftorch.core.paths import Home
from ftorch.jobs.leader import leadership
from ftorch.store import SqliteStore
from postgres import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("FTORCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = Home(tmp_path / "home").ensure()
    store = SqliteStore.open(made.database)
    store.write(lambda tx: tx.put_meta("installation", "abc123"))
    store.close()
    return made


def test_check_prints_what_is_there(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["db", "check"]) == 0

    shown = capsys.readouterr().out
    assert "abc123" in shown
    assert "0.00 USD" in shown


def test_check_answers_programs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["db", "check", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["installation"], answer["rows"]["meta"], answer["findings"]) == ("abc123", 1, [])


def test_check_of_nothing_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTORCH_HOME", str(tmp_path / "home"))

    assert run(_COMMANDS, ["db", "check"]) == 2

    assert "nothing was ever submitted" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_backup_copies_the_database(home: Home, tmp_path: Path) -> None:
    assert run(_COMMANDS, ["db", "backup", "copy.db"]) == 0

    copy = SqliteStore.open(tmp_path / "copy.db")
    assert copy.meta("installation") == "abc123"
    copy.close()


def test_backup_of_a_server_names_its_own_tool(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["db", "backup", "copy.db", "--url", "postgresql://127.0.0.1/x"]) == 2

    assert "pg_dump" in capsys.readouterr().err


def test_move_carries_everything_and_check_finds_it_there(
    home: Home, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THE_DATABASE", server.fresh())

    assert run(_COMMANDS, ["db", "move", "env:THE_DATABASE"]) == 0
    assert "is sealed" in capsys.readouterr().err
    assert run(_COMMANDS, ["db", "check", "env:THE_DATABASE", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["installation"] == "abc123"

    assert run(_COMMANDS, ["jobs"]) == 2
    assert "was moved to postgresql://" in capsys.readouterr().err


def test_move_is_refused_while_a_daemon_leads(home: Home, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with leadership(home):
        assert run(_COMMANDS, ["db", "move", server.fresh()]) == 2

    assert "ftorch daemon stop" in capsys.readouterr().err
    assert run(_COMMANDS, ["db", "check"]) == 0


def test_a_variable_that_is_not_set_is_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["db", "move", "env:NOT_SET_ANYWHERE"]) == 2

    assert "NOT_SET_ANYWHERE is not set" in capsys.readouterr().err
