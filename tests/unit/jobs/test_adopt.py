"""A lost database: runs that are still at their provider become jobs again, once, and only ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ftorch.core.errors import UsageError
from ftorch.core.paths import Home
from ftorch.data.freeze import Prepared
from ftorch.jobs.adopt import adopt, adoptable
from ftorch.jobs.leader import leadership
from ftorch.jobs.plan import Resolved
from ftorch.manifest.schema import Budget
from ftorch.providers.base import RunState
from unit.jobs.cloud import NAME
from unit.jobs.conftest import desk_in
from unit.jobs.desk import Desk
from unit.jobs.test_limits import usd
from unit.plans import plan


class Known(Resolved):
    """A plan whose rows lie where they are."""

    def freeze(self, home: Home) -> Path:
        folder = home.datasets / "rows"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.jsonl").write_text("{}\n")
        return folder


def manifest(**changes: object) -> Resolved:
    return Known(plan(providers=(NAME,), **changes), cast("Prepared", None), Path("support.yaml"))


def left_behind(lost: Desk) -> str:
    """A run at work, whose database is gone from here on."""
    job = lost.submit()
    lost.run_until(lambda: bool(lost.cloud.runs))
    return lost.runs(job)[0].key


@pytest.fixture
def fresh(desk: Desk, tmp_path: Path) -> Iterator[Desk]:
    """A new database, with a mark of its own, on the account of `desk`."""
    with desk_in(tmp_path / "fresh", desk.cloud, installation="new999") as made:
        yield made


def test_after_a_lost_database_the_job_succeeds_once_and_is_paid_once(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)

    job = fresh.finish(adopt(fresh.context, manifest(), key).id)

    assert (job.state, job.adapter is not None, len(desk.cloud.runs)) == ("succeeded", True, 1)
    [entry] = fresh.context.store.ledger()
    assert (entry.job_id, entry.run_key, entry.amount_micro) == (job.id, key, 60_000)
    assert "adopted" in [event.event for event in fresh.context.store.events_of(job.id)]


def test_a_run_that_has_ended_meanwhile_is_fetched_and_paid(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)
    desk.clock.advance(3600)

    assert fresh.finish(adopt(fresh.context, manifest(), key).id).state == "succeeded"
    assert fresh.spent() == 60_000


def test_a_fresh_database_takes_over_the_mark_of_the_key(desk: Desk, fresh: Desk) -> None:
    adopt(fresh.context, manifest(), left_behind(desk))

    assert fresh.context.store.meta("installation") == "abc123"


def test_a_database_with_jobs_does_not_adopt_the_runs_of_another(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)
    fresh.submit()

    with pytest.raises(UsageError, match="belongs to the installation abc123; this one is new999"):
        adopt(fresh.context, manifest(), key)


def test_a_job_that_is_submitted_while_a_run_is_adopted_keeps_its_mark(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)

    class Meanwhile(Known):
        def freeze(self, home: Home) -> Path:
            fresh.submit()
            return super().freeze(home)

    with pytest.raises(UsageError, match="has jobs of its own"):
        adopt(fresh.context, Meanwhile(plan(providers=(NAME,)), cast("Prepared", None), Path("support.yaml")), key)

    assert (fresh.context.store.meta("installation"), len(fresh.context.store.jobs())) == (None, 1)


def test_a_database_with_a_daemon_keeps_its_mark(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)

    with leadership(fresh.context.home), pytest.raises(UsageError, match="a daemon is at work"):
        adopt(fresh.context, manifest(), key)


def test_a_run_with_a_row_is_not_adopted_again(desk: Desk) -> None:
    key = left_behind(desk)

    with pytest.raises(UsageError, match="has its job already"):
        adopt(desk.context, manifest(), key)


@pytest.mark.parametrize(("key", "words"), [("nonsense", "is no run key"), ("ft-abc123-" + "0" * 26, "no run ft-")])
def test_what_is_not_there_is_not_adopted(desk: Desk, key: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        adopt(desk.context, manifest(), key)
    assert desk.context.store.jobs() == []


def test_the_second_run_under_the_key_is_cancelled_and_booked(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)
    second = desk.cloud.create(key)

    fresh.finish(adopt(fresh.context, manifest(), key).id)
    fresh.run_until(lambda: second.released and len(fresh.context.store.ledger()) == 2)

    assert second.state is RunState.STOPPED


def test_an_adopted_run_holds_its_budget(desk: Desk, fresh: Desk) -> None:
    job = adopt(fresh.context, manifest(budget=Budget(limit=usd("0.50"))), left_behind(desk))

    [run] = fresh.runs(job.id)
    assert (run.hold_micro, run.max_duration_s) == (500_000, 500)


def test_what_could_be_adopted_is_listed_by_mark(desk: Desk, fresh: Desk) -> None:
    key = left_behind(desk)
    provider = fresh.context.open_provider(NAME)

    assert adoptable(fresh.context, provider) == []
    assert [(one.key, one.state) for one in adoptable(fresh.context, provider, "abc123")] == [(key, "running")]
    assert adoptable(desk.context, provider) == []
