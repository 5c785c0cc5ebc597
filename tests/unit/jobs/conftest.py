from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud, CloudProvider
from unit.jobs.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = ManualClock()
    cloud = Cloud(clock)
    provider = CloudProvider(cloud)
    store = SqliteStore.open(tmp_path / "ftorch.db")
    context = Context(
        store=store,
        clock=clock,
        ids=Ids(),
        home=Home(tmp_path),
        installation="abc123",
        env={},
        open_provider=lambda _name: provider,
    )
    engine = Engine(context)
    yield Desk(context, cloud, clock, engine)
    engine.close()
    store.close()
