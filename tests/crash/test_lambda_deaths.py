"""ftorch dies before and after every commit, request and command to a machine, and lives again."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.rented import Rented, slow
from crash.world import Fate, Killed

_SHARDS = 4
_TURNS = 600


def lived(folder: Path, deaths: set[int]) -> tuple[Rented, list[str]]:
    """One job from submit to settlement in as many lives as it takes; what was wrong at its end."""
    rented = slow(folder, fate=Fate())
    rented.service.training = {"seconds": 0.3}
    with rented:
        rented.open_lid()  # its own first commit is no boundary
        with rented.fate.asleep():
            job = rented.submit()
        rented.fate.deaths = deaths
        turns = 0
        while not _is_over(rented, job):
            turns += 1
            assert turns < _TURNS, rented.told()
            try:
                rented.laptop.settle()
            except Killed:
                rented.close_lid()
                rented.clock.advance(3.0 * len(rented.fate.met))
                continue
            rented.let_pass(1000.0 if _is_ended(rented, job) else 5.0)
        with rented.fate.asleep():
            faults = [*rented.faults(job), *_wrong(rented, job)]
        return rented, faults


def _is_ended(rented: Rented, job: str) -> bool:
    with rented.fate.asleep():
        return rented.job(job).ended_at is not None


def _is_over(rented: Rented, job: str) -> bool:
    with rented.fate.asleep():
        runs = rented.runs(job)
        return rented.job(job).ended_at is not None and all(run.settled_at for run in runs)


def _wrong(rented: Rented, job: str) -> list[str]:
    row = rented.job(job)
    launches = sum(rented.service.launches.values())
    return [
        *(f"job {row.state}: {row.reason}" for _ in [0] if row.state != "succeeded"),
        *(f"{launches} launches" for _ in [0] if launches != 1),
    ]


@pytest.fixture(scope="module")
def boundaries(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The boundaries of a life that nothing disturbs."""
    rented, faults = lived(tmp_path_factory.mktemp("undisturbed"), set())
    assert faults == []
    return rented.fate.passed


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shard", range(_SHARDS))
def test_a_death_at_any_boundary_leaves_one_machine_paid_once(
    boundaries: list[str], shard: int, tmp_path: Path
) -> None:
    """The first and the last time that each boundary is passed."""
    places = {*(boundaries.index(name) + 1 for name in boundaries)}
    places |= {len(boundaries) - boundaries[::-1].index(name) for name in set(boundaries)}
    wrong: dict[str, list[str]] = {}
    died = 0

    mine = sorted(places)[shard::_SHARDS]
    for place in mine:
        rented, faults = lived(tmp_path / str(place), {place})
        died += len(rented.fate.met)
        if faults:
            wrong[f"{place} {boundaries[place - 1]}"] = faults

    assert wrong == {}
    # How often a machine is looked at depends on how busy this one is: some lives end before their last boundary.
    assert died >= len(mine) * 3 // 4


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(6))
def test_two_deaths_in_one_job_leave_one_machine_paid_once(boundaries: list[str], seed: int, tmp_path: Path) -> None:
    first = 7 + 11 * seed
    deaths = {first, first + 5 + seed}

    _, faults = lived(tmp_path, deaths)

    assert faults == []
