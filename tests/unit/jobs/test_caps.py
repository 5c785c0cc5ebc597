"""Caps per provider: a full provider holds back its own jobs and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.jobs.caps import with_defaults
from ftorch.manifest.settings import Cap
from unit.jobs.cloud import NAME, Cloud
from unit.jobs.conftest import desk_in
from unit.jobs.desk import Desk
from unit.plans import plan

ONE_AT_THE_CLOUD = Cap(provider=NAME, label=None, runs=1)
TWO_OF_TEAM_A = Cap(provider=None, label="team=a", runs=2)
ONE_OF_TEAM_A_AT_THE_CLOUD = Cap(provider=NAME, label="team=a", runs=1)


def submitted(desk: Desk, provider: str, team: str = "a", count: int = 2) -> list[str]:
    plans = [plan(providers=(provider,), name=f"{provider}-{team}-{n}", labels={"team": team}) for n in range(count)]
    return [desk.submit(one, provider) for one in plans]


def open_at(desk: Desk, provider: str) -> int:
    jobs = desk.context.store.jobs()
    runs = [run for job in jobs for run in desk.runs(job.id)]
    return sum(run.provider == provider and run.ended_at is None for run in runs)


@pytest.mark.parametrize(
    ("cap", "at_the_cloud", "elsewhere"),
    [
        (ONE_AT_THE_CLOUD, 1, 4),
        (TWO_OF_TEAM_A, 3, 3),
        (ONE_OF_TEAM_A_AT_THE_CLOUD, 3, 4),
        (Cap(provider="elsewhere", label=None, runs=3), 4, 3),
    ],
    ids=["a provider", "a label", "a label at a provider", "another provider"],
)
def test_a_cap_counts_the_runs_that_it_names(tmp_path: Path, cap: Cap, at_the_cloud: int, elsewhere: int) -> None:
    with desk_in(tmp_path, Cloud(ManualClock()), cap) as desk:
        [first, *_] = submitted(desk, NAME, count=1)
        submitted(desk, "elsewhere", count=1)
        desk.run_until(lambda: desk.job(first).state == "running")
        submitted(desk, NAME, count=1)
        submitted(desk, "elsewhere", count=1)
        for provider in (NAME, "elsewhere"):
            submitted(desk, provider, team="b")
        desk.settle()

        assert (open_at(desk, NAME), open_at(desk, "elsewhere")) == (at_the_cloud, elsewhere)


def test_of_two_caps_on_one_run_the_tighter_one_counts(tmp_path: Path) -> None:
    with desk_in(tmp_path, Cloud(ManualClock()), TWO_OF_TEAM_A, ONE_AT_THE_CLOUD) as desk:
        submitted(desk, NAME, count=3)
        desk.settle()

        assert open_at(desk, NAME) == 1


def test_what_waits_for_a_place_at_a_provider_starts_when_one_is_free(tmp_path: Path) -> None:
    with desk_in(tmp_path, Cloud(ManualClock()), ONE_AT_THE_CLOUD) as desk:
        jobs = submitted(desk, NAME, count=3)

        assert [desk.finish(job).state for job in jobs] == ["succeeded"] * 3
        assert max(_at_once(desk)) == 1


def _at_once(desk: Desk) -> list[int]:
    """How many of the cloud's runs were at work when each of them began."""
    runs = desk.cloud.runs
    return [sum(r.created_at <= run.created_at < (r.ended_at or r.created_at) for r in runs) for run in runs]


def test_a_provider_that_bears_few_runs_has_a_cap_unless_the_settings_have_one() -> None:
    ours, labelled = Cap(provider="ray", runs=9), Cap(provider="ray", label="team=a", runs=1)

    assert with_defaults(()) == (Cap(provider="ray", runs=4),)
    assert with_defaults((ours,)) == (ours,)
    assert with_defaults((labelled,)) == (labelled, Cap(provider="ray", runs=4))
