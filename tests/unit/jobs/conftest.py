from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.settings import Cap
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud, CloudProvider
from unit.jobs.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with _desk(tmp_path) as made:
        yield made


@pytest.fixture
def capped_desk(tmp_path: Path) -> Iterator[Desk]:
    """At most one run of team a at once."""
    with _desk(tmp_path, Cap(label="team=a", provider=None, runs=1)) as made:
        yield made


@contextmanager
def _desk(folder: Path, *caps: Cap) -> Iterator[Desk]:
    with desk_in(folder, Cloud(ManualClock()), *caps) as made:
        yield made


@contextmanager
def desk_in(folder: Path, cloud: Cloud, *caps: Cap, installation: str = "abc123") -> Iterator[Desk]:
    """A database of its own in `folder`; several may share a cloud."""
    provider, clock = CloudProvider(cloud), cloud.clock
    assert isinstance(clock, ManualClock)
    folder.mkdir(exist_ok=True)
    store = SqliteStore.open(folder / "ftorch.db")
    context = Context(
        store=store,
        clock=clock,
        ids=Ids(),
        home=Home(folder),
        installation=installation,
        env={},
        open_provider=lambda _name: provider,
        caps=caps,
    )
    # The account has shown a run of ours before: an empty search of it proves something.
    store.write(lambda tx: tx.put_meta("mark/cloud/acct", f"ft-{installation}-earlier"))
    engine = Engine(context)
    yield Desk(context, cloud, clock, engine)
    engine.close()
    store.close()
