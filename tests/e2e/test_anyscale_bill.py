"""What a run at Anyscale cost, from the first charge to the last row of the bill: the truth, once it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from contract.anyscale_stand_in import StandIn
from contract.bucket import open_bucket
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.costs.items import Place
from ftorch.emulators.anyscale import ORGANISATION, TOKEN, AnyscaleEmulator
from ftorch.emulators.anyscale.jobs import Job
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.billing.status import bill_status
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.anyscale.settings import cookie
from ftorch.providers.http import Http
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk
from unit.plans import plan

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S


@dataclass
class Books:
    """An engine, an emulated Anyscale, and the ledger between them."""

    desk: Desk
    emulator: AnyscaleEmulator
    clock: ManualClock

    def run_over_midnight(self) -> Job:
        """A job whose machines are there on two days; its run ends soon after midnight."""
        self.clock.advance(12 * _HOUR_S - 30)  # the clock begins at noon
        options = {"anyscale": {"output_uri": "bucket://tiny/runs", **self.cloud}}
        self.job_id = self.desk.submit(plan(providers=("anyscale",), options=options), "anyscale")
        self.desk.finish(self.job_id)
        [key] = self.emulator.service.creates
        return self.emulator.service.newest(key)

    cloud: dict[str, str]

    def pull(self) -> None:
        pull(self.desk.context, ["anyscale"], is_asked=True)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.desk.settle()
        self.pull()

    def spent(self) -> Money:
        """What the ledger has for runs of ours."""
        entries = self.desk.context.store.ledger()
        return Money.from_micro(sum(entry.amount_micro for entry in entries if entry.place == Place.RUN))

    def truth(self, job: Job) -> Money:
        """The bill's rows, each rounded once, as the ledger does."""
        rows = self.emulator.service.usage(job)
        return Money.from_micro(sum(Money(row.usd or Decimal(0)).micro for row in rows))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    clock = ManualClock()
    bucket = open_bucket("tiny", tmp_path / "bucket")
    with AnyscaleEmulator(clock, work=StandIn(clock, bucket.folder)) as emulator:
        http = Http("anyscale", emulator.url, clock=clock, key=TOKEN, authorized=cookie)
        provider = AnyscaleProvider(http, clock)
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
        yield Books(Desk(context, Cloud(clock), clock, engine), emulator, clock, {})
        engine.close()
        store.close()
        provider.close()
    assert emulator.violations == []


def test_a_row_that_arrives_two_days_late_is_in_the_spend_to_the_cent(books: Books) -> None:
    job = books.run_over_midnight()
    first, second = books.emulator.service.usage(job)
    books.emulator.service.posting.late[second.cluster_id, second.day] = 2 * _DAY_S

    measured = books.spent()
    books.later(_DAY_S)
    with_one_row = books.spent()
    books.later(1.2 * _DAY_S)
    with_both = books.spent()
    books.later(2 * _DAY_S)

    truth = books.truth(job)
    assert first.day + timedelta(days=1) == second.day
    # Until the bill has settled the larger figure counts: half a bill must not make a run look cheap.
    assert with_one_row == measured
    assert with_both == max(measured, truth)
    assert books.spent() == truth


def test_the_bill_is_right_without_being_pulled_in_between(books: Books) -> None:
    job = books.run_over_midnight()

    books.later(5 * _DAY_S)

    assert books.spent() == books.truth(job)


def test_a_row_that_is_corrected_later_is_followed(books: Books) -> None:
    job = books.run_over_midnight()
    books.later(5 * _DAY_S)
    row = books.emulator.service.usage(job)[0]
    books.emulator.service.posting.corrections[row.cluster_id, row.day] = Decimal("0.5")

    books.later(10 * _DAY_S)

    other = books.emulator.service.usage(job)[1].usd or Decimal(0)
    assert books.spent() == Money.from_micro(500_000 + Money(other).micro)


def test_a_cloud_of_ones_own_is_billed_the_fee_alone_and_the_line_says_so(books: Books) -> None:
    books.cloud["cloud"] = "tiny-aws"
    books.run_over_midnight()

    books.later(5 * _DAY_S)

    lines = [entry for entry in books.desk.context.store.ledger() if entry.source == "billing_api"]
    assert {"scope: platform_fee" in entry.description for entry in lines} == {True}
    assert ORGANISATION in {entry.account for entry in lines}


def test_in_a_cloud_of_ones_own_a_run_costs_its_machines_and_the_fee_at_any_moment(books: Books) -> None:
    books.cloud["cloud"] = "tiny-aws"
    job = books.run_over_midnight()
    _, second = books.emulator.service.usage(job)
    books.emulator.service.posting.late[second.cluster_id, second.day] = 2 * _DAY_S

    machines = books.spent()
    books.later(_DAY_S)
    with_one_row = books.spent() - machines
    books.later(1.2 * _DAY_S)
    with_both = books.spent() - machines
    books.later(2 * _DAY_S)
    settled = books.spent() - machines
    books.later(_DAY_S)

    truth = books.truth(job)
    assert machines.amount > 0
    assert Money(Decimal(0)) < with_one_row < truth
    assert with_both == settled == books.spent() - machines == truth


def test_a_fee_differs_from_nothing_that_was_charged(books: Books) -> None:
    books.cloud["cloud"] = "tiny-aws"
    books.run_over_midnight()

    books.later(5 * _DAY_S)

    status = bill_status(books.desk.context.store)
    assert status.is_explained, status.differing


def test_a_fee_that_is_corrected_later_leaves_the_machines_as_they_are(books: Books) -> None:
    books.cloud["cloud"] = "tiny-aws"
    job = books.run_over_midnight()
    machines = books.spent()
    books.later(5 * _DAY_S)
    row = books.emulator.service.usage(job)[0]
    books.emulator.service.posting.corrections[row.cluster_id, row.day] = Decimal("0.5")

    books.later(10 * _DAY_S)

    other = books.emulator.service.usage(job)[1].usd or Decimal(0)
    assert books.spent() - machines == Money.from_micro(500_000 + Money(other).micro)


def test_a_job_that_is_gone_from_a_cloud_of_ones_own_keeps_what_its_machines_cost(books: Books) -> None:
    books.cloud["cloud"] = "tiny-aws"
    job = books.run_over_midnight()
    machines = books.spent()
    books.emulator.service.forget(job)

    books.later(5 * _DAY_S)

    assert books.spent() - machines == books.truth(job)


@pytest.mark.parametrize(("cloud", "scope"), [("tiny-aws", "platform_fee"), ("hosted", "run")])
@pytest.mark.parametrize("fate", ["lost_clouds", "closed_clouds"])
def test_whose_machines_they_were_is_known_when_their_cloud_is_gone(
    books: Books, cloud: str, scope: str, fate: str
) -> None:
    books.cloud["cloud"] = cloud
    job = books.run_over_midnight()
    machines = books.spent() if scope == "platform_fee" else Money(Decimal(0))
    getattr(books.emulator.service, fate).add(job.cloud_id)

    books.later(5 * _DAY_S)

    assert books.spent() - machines == books.truth(job)
    lines = [entry for entry in books.desk.context.store.ledger() if entry.source == "billing_api"]
    assert {entry.scope for entry in lines} == {scope}


def test_rows_that_name_credits_alone_leave_what_was_charged(books: Books) -> None:
    books.emulator.service.posting.without_dollars = True
    books.run_over_midnight()
    measured = books.spent()

    books.later(5 * _DAY_S)

    assert books.spent() == measured
    assert measured.amount > 0
