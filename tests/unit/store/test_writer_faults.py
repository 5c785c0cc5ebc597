"""The writer when its database cannot be opened: who waits hears why."""

from __future__ import annotations

import sqlite3

import pytest

from ftorch.store.sqlite import SqliteConnection
from ftorch.store.writer import Writer


def test_a_write_hears_that_the_database_cannot_be_opened() -> None:
    attempts: list[int] = []

    def refuse() -> SqliteConnection:
        attempts.append(1)
        raise sqlite3.OperationalError("unable to open database file")

    writer = Writer(refuse, (sqlite3.Error,))

    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            writer.run(lambda connection: connection)

    assert len(attempts) == 2
