"""Two installations on one account of a provider that shows each of them everything: neither touches the other's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import UsageError
from ftorch.core.ids import installation_of
from ftorch.jobs.adopt import adopt, adoptable
from ftorch.jobs.reap import SWEEP_EVERY_S, reap
from ftorch.providers.base import Observation, RunRef, RunState
from unit.jobs.cloud import NAME, Cloud, CloudProvider, Remote
from unit.jobs.conftest import desk_in
from unit.jobs.desk import Desk
from unit.jobs.test_adopt import manifest

HOUR_S = 3600.0


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud(ManualClock())
    made.is_careless = True
    made.training = timedelta(hours=2)
    return made


@pytest.fixture
def ours(tmp_path: Path, cloud: Cloud) -> Iterator[Desk]:
    with desk_in(tmp_path / "ours", cloud, installation="aaa111") as made:
        yield made


@pytest.fixture
def theirs(tmp_path: Path, cloud: Cloud) -> Iterator[Desk]:
    with desk_in(tmp_path / "theirs", cloud, installation="bbb222") as made:
        yield made


def runs_of(cloud: Cloud, installation: str) -> list[Remote]:
    return [run for run in cloud.runs if installation_of(run.key) == installation]


def live(desks: tuple[Desk, ...], until_s: float) -> None:
    """All of them go on at once."""
    clock = desks[0].clock
    end_s = clock.boot_s() + until_s
    while clock.boot_s() < end_s:
        for desk in desks:
            desk.settle()
        clock.advance(30)


def test_both_run_sweep_and_pay_for_themselves_alone(ours: Desk, theirs: Desk, cloud: Cloud) -> None:
    jobs = [(desk, desk.submit()) for desk in (ours, theirs)]

    live((ours, theirs), 2 * HOUR_S + 3 * SWEEP_EVERY_S)

    for desk, job in jobs:
        [run] = runs_of(cloud, desk.context.installation)
        assert desk.job(job).state == "succeeded"
        assert [(entry.run_key, entry.amount_micro) for entry in desk.context.store.ledger()] == [(run.key, 7_200_000)]
    assert (cloud.asked["owned"] >= 8, cloud.asked["cancel"]) == (True, 0)


def test_a_sweep_ends_our_second_run_and_leaves_theirs(ours: Desk, theirs: Desk, cloud: Cloud) -> None:
    ours.submit()
    theirs.submit()
    live((ours, theirs), 60)
    second = cloud.create(runs_of(cloud, "aaa111")[0].key)
    cloud.create(runs_of(cloud, "bbb222")[0].key)

    live((ours,), 2 * SWEEP_EVERY_S)

    assert (second.state, second.released) == (RunState.STOPPED, True)
    assert [run.state for run in runs_of(cloud, "bbb222")] == [RunState.RUNNING] * 2


def test_what_is_reaped_is_ours(ours: Desk, theirs: Desk, cloud: Cloud) -> None:
    stray = cloud.create(f"ft-aaa111-{'0' * 26}")
    job = theirs.submit()
    live((theirs,), 60)

    report = reap(ours.context, [NAME], is_asked=True, yes=True)

    assert [one.key for one in report.strays] == [stray.key]
    assert stray.state is RunState.STOPPED
    live((theirs,), 2 * HOUR_S + SWEEP_EVERY_S)
    assert theirs.job(job).state == "succeeded"


def test_after_a_lost_database_we_adopt_our_run_and_theirs_goes_on(
    ours: Desk, theirs: Desk, cloud: Cloud, tmp_path: Path
) -> None:
    ours.submit()
    job = theirs.submit()
    live((ours, theirs), 60)
    [lost], [other] = runs_of(cloud, "aaa111"), runs_of(cloud, "bbb222")
    with desk_in(tmp_path / "fresh", cloud, installation="ccc333") as fresh:
        provider = fresh.context.open_provider(NAME)
        offered = [one.key for one in adoptable(fresh.context, provider, "aaa111")]
        adopted = adopt(fresh.context, manifest(), lost.key)
        with pytest.raises(UsageError, match="belongs to the installation bbb222"):
            adopt(fresh.context, manifest(), other.key)

        live((fresh, theirs), 2 * HOUR_S + 2 * SWEEP_EVERY_S)

        assert offered == [lost.key]
        assert (fresh.job(adopted.id).state, theirs.job(job).state) == ("succeeded", "succeeded")
        assert {entry.run_key for entry in fresh.context.store.ledger()} == {lost.key}
    assert cloud.asked["cancel"] == 0


def looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the runs of a provider are read, in the first ten minutes."""
    observe, at_s = CloudProvider.observe, list[float]()

    def noted(self: CloudProvider, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        at_s.append(round(desk.clock.boot_s(), 1))
        return observe(self, refs)

    monkeypatch.setattr(CloudProvider, "observe", noted)
    desk.submit()
    for _ in range(1200):
        desk.settle()
        desk.clock.advance(0.5)
    monkeypatch.undo()
    return at_s


def test_installations_that_begin_together_do_not_look_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    for name in ("aaa111", "bbb222"):
        cloud = Cloud(ManualClock())
        cloud.training = timedelta(hours=2)
        with desk_in(tmp_path / name, cloud, installation=name) as desk:
            looked.append(looks(desk, monkeypatch))

    assert all(len(times) > 30 for times in looked)
    assert len(set(looked[0]) & set(looked[1])) < len(looked[0]) / 2
