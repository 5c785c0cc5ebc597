"""Who shares a commit: changes that come together, and nobody who writes alone."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ftorch.store import writer as module
from ftorch.store.sqlite import SqliteConnection
from ftorch.store.writer import Writer

Changes = Writer[SqliteConnection]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Changes]:
    def connect() -> SqliteConnection:
        return sqlite3.connect(tmp_path / "db", factory=SqliteConnection, isolation_level=None)

    made = Writer(connect, (sqlite3.Error,))
    made.run(nothing)
    made.commits = 0
    yield made
    made.close()


def nothing(_connection: SqliteConnection) -> None:
    """A change that changes nothing."""


def queued(writer: Changes, change: Callable[[SqliteConnection], object] = nothing) -> Future[Any]:
    """A change of a thread that waits for it."""
    future: Future[Any] = Future()
    writer._changes.put((change, future))
    return future


def together(writer: Changes, count: int) -> None:
    """So many changes come while another one is carried out."""
    is_begun, goes_on = threading.Event(), threading.Event()

    def hold(_connection: SqliteConnection) -> None:
        is_begun.set()
        assert goes_on.wait(30)

    first = queued(writer, hold)
    assert is_begun.wait(30)
    done = [queued(writer) for _ in range(count)]
    goes_on.set()
    for one in (first, *done):
        one.result(30)


def test_changes_that_come_together_are_one_commit(writer: Changes) -> None:
    together(writer, 5)

    assert writer.commits == 2


def test_who_writes_alone_waits_for_nobody(writer: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINGER_S", 3600.0)

    for _ in range(3):
        writer.run(nothing)

    assert writer.commits == 3


def test_after_a_shared_commit_the_next_one_waits_a_moment_for_company(
    writer: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(writer, 2)
    monkeypatch.setattr(module, "_LINGER_S", 30.0)
    monkeypatch.setattr(module, "_GROUP", 2)

    first = queued(writer)
    while not writer._changes.empty():
        time.sleep(0.001)
    second = queued(writer)

    assert (first.result(30), second.result(30), writer.commits) == (None, None, 3)


def test_a_writer_that_waits_for_company_stops_at_once_when_it_is_told_to(
    writer: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(writer, 2)
    monkeypatch.setattr(module, "_LINGER_S", 3600.0)
    last = queued(writer)

    writer.close()

    assert last.result(30) is None
