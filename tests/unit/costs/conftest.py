"""Reports are added up by the database: they are tested on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftorch.store import Store, open_store
from postgres import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    if request.param == "sqlite":
        opened = open_store(tmp_path / "books.db")
    else:
        opened = open_store(request.getfixturevalue("server").fresh())
    yield opened
    opened.close()
