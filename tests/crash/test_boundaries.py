"""The engine dies at every commit and every request, and the job is paid once, booked once and leaves nothing behind.

First each boundary by itself, then seeded fates: several deaths in one job, answers that are lost, reads that fail, a
machine that is taken away. FTORCH_FATES and FTORCH_KILL_SEED change how many there are and which. The table at the end
of the output has every boundary that was hit, by kind of provider.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from crash.conftest import Hits
from crash.world import Fate, Ground, Kind, SharedGround, World, accidents, weather
from postgres import Server

FATES = int(os.environ.get("FTORCH_FATES", "100"))
SEED = int(os.environ.get("FTORCH_KILL_SEED", "20261123"))
REQUESTS = ("check", "stage", "placements", "submit", "find", "observe", "cancel", "fetch", "release", "charges")
ALL = {"commit begins", "commit has ended", *(f"{one} {word}" for one in REQUESTS for word in ("asked", "answered"))}
STORIES: Mapping[str, Mapping[str, Any]] = {
    "undisturbed": {},
    "its create is lost after it was carried out": {"accidents": ["lost after create"]},
    "its create is lost before it arrives": {"accidents": ["lost before create"]},
    "its machine is taken away": {"preempt": True},
    "it is cancelled": {"cancel": True},
}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[str, Ground | None]]:
    """The name of the store for the table, and what is under the daemons; None: a fresh file for each world."""
    if request.param == "sqlite":
        yield "sqlite", None
        return
    server: Server = request.getfixturevalue("server")
    ground = SharedGround(server.fresh())
    yield "postgres x 3", ground
    ground.close()


@pytest.mark.parametrize("kind", Kind)
def test_a_death_at_any_boundary_costs_nothing_and_loses_nothing(
    kind: Kind, database: tuple[str, Ground | None], tmp_path: Path, hits: Hits
) -> None:
    name, ground = database
    wrong: dict[tuple[str, int], list[str]] = {}
    hit: set[str] = set()
    for story, happens in STORIES.items():
        undisturbed = World(tmp_path / story, kind, Fate(), ground=ground, **happens)
        undisturbed.live()
        assert undisturbed.faults() == [], story
        for number in range(1, len(undisturbed.fate.passed) + 1):
            world = World(tmp_path / story / str(number), kind, Fate({number}), ground=ground, **happens)
            world.live()
            hits.note(name, kind, world)
            hit |= set(world.fate.met)
            if faults := world.faults():
                wrong[story, number] = [*world.fate.met, *faults]

    assert wrong == {}
    assert hit == ALL


@pytest.mark.parametrize("kind", Kind)
def test_seeded_fates_cost_nothing_and_lose_nothing(
    kind: Kind, database: tuple[str, Ground | None], tmp_path: Path, hits: Hits
) -> None:
    name, ground = database
    wrong = {}
    for seed in range(SEED, SEED + FATES):
        happens: dict[str, Any] = {"accidents": accidents(seed), "preempt": seed % 3 == 0, "ground": ground}
        world = World(tmp_path / str(seed), kind, weather(seed), **happens)
        world.live()
        hits.note(name, kind, world)
        if faults := world.faults():
            wrong[seed] = faults

    assert wrong == {}


@pytest.mark.parametrize("kind", [Kind.TAG, Kind.LIST])
def test_the_same_deaths_are_seen_to_cost_money_where_find_is_switched_off(kind: Kind, tmp_path: Path) -> None:
    undisturbed = World(tmp_path / "undisturbed", kind, Fate())
    undisturbed.live()
    at = undisturbed.fate.passed.index("submit answered") + 1

    world = World(tmp_path / "blind", kind, Fate({at}), can_find=False)
    world.live()

    assert any("2 runs under" in fault for fault in world.faults())
