from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftorch.jobs.context import Context
from postgres import Server, running_server
from unit.jobs.billing.quarter import Quarter, draw, office


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def quarter() -> Quarter:
    return draw(11, jobs=8)


@pytest.fixture
def context(tmp_path: Path, quarter: Quarter) -> Iterator[Context]:
    """An installation at the beginning of its quarter; nothing is charged or pulled yet."""
    with office(tmp_path, quarter) as made:
        yield made
