"""A quarter of bills, pulled as they come: every run's sum is the truth, and nothing is left unexplained."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind
from ftorch.jobs.billing.pull import Outcome, pull
from ftorch.jobs.billing.status import bill_status
from ftorch.jobs.context import Context
from ftorch.store import open_store
from postgres import Server
from unit.jobs.billing.quarter import (
    END,
    LAG,
    SETTLED,
    START,
    Quarter,
    charge_ended,
    draw,
    move_to,
    office,
    plant_unknown_run,
    spent_by_run,
)

NAMES = ("alpha", "beta", "gamma")


def live_through(context: Context, quarter: Quarter, *, every: timedelta, until: datetime = SETTLED) -> None:
    """Charge and pull at regular moments, as a daemon and a person do."""
    while context.clock.now() < until:
        before = context.clock.now()
        move_to(context, min(before + every, until))
        charge_ended(context, quarter, before)
        pull(context, NAMES, is_asked=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_run_costs_what_it_truly_cost(tmp_path: Path, seed: int) -> None:
    quarter = draw(seed, jobs=60)

    with office(tmp_path, quarter) as context:
        live_through(context, quarter, every=timedelta(days=11))

        assert spent_by_run(context.store) == dict(quarter.truth)
        check_bills(context, quarter)


def check_bills(context: Context, quarter: Quarter) -> None:
    status = bill_status(context.store)

    assert [bill.provider for bill in status.bills] == ["alpha", "beta"]
    for bill in status.bills:
        assert bill.outside.micro == quarter.foreign[bill.provider]
        assert bill.credits.micro == quarter.credits[bill.provider]
        assert bill.tax.micro == quarter.tax[bill.provider]
        assert bill.unexplained.micro == 0
    assert status.is_explained


def test_pulling_again_changes_nothing(tmp_path: Path) -> None:
    quarter = draw(3, jobs=25)

    with office(tmp_path, quarter) as context:
        live_through(context, quarter, every=timedelta(days=40))
        before = len(context.store.ledger())

        again = pull(context, NAMES, is_asked=True, since=START)

        assert len(context.store.ledger()) == before
        assert [one.appended for one in again] == [0, 0, 0]
        assert [one.outcome for one in again] == [Outcome.PULLED, Outcome.PULLED, Outcome.NO_BILL]
        assert again[0].run > 0
        assert again[0].outside > 0


def test_one_pull_at_the_end_says_the_same_as_many(tmp_path: Path) -> None:
    quarter = draw(4, jobs=25)
    (tmp_path / "once").mkdir()
    with office(tmp_path / "once", quarter) as context:
        live_through(context, quarter, every=SETTLED - START)
        once = spent_by_run(context.store)

    assert once == dict(quarter.truth)


def test_while_the_bill_is_behind_the_larger_figure_counts(tmp_path: Path) -> None:
    quarter = draw(5, jobs=12)
    row = next(row for row in quarter.runs if row.provider == "alpha")
    assert row.ended_at is not None

    with office(tmp_path, quarter) as context:
        move_to(context, row.ended_at)
        pull(context, ("alpha",), is_asked=True)
        charge_ended(context, quarter, row.ended_at - timedelta(microseconds=1))

        assert spent_by_run(context.store)[row.key] >= quarter.charges[row.key][0].amount.micro


def test_a_planted_fault_is_all_that_is_unexplained(tmp_path: Path) -> None:
    quarter = draw(6, jobs=25)
    planted = plant_unknown_run(quarter)

    with office(tmp_path, quarter) as context:
        live_through(context, quarter, every=timedelta(days=30))
        status = bill_status(context.store)

        assert [(line.amount, line.run) for line in status.unexplained] == [
            (Money(planted.amount.amount), planted.run_key)
        ]
        assert not status.differing
        assert spent_by_run(context.store) == dict(quarter.truth)


def test_a_bill_of_twice_our_own_figure_is_said(tmp_path: Path) -> None:
    quarter = draw(7, jobs=12)
    key = next(row.key for row in quarter.runs if row.provider == "alpha" and is_never_changed(quarter, row.key))
    [charge] = quarter.charges[key]
    quarter.charges[key] = [replace(charge, amount=charge.amount * Decimal("0.5"))]

    with office(tmp_path, quarter) as context:
        live_through(context, quarter, every=timedelta(days=30))

        assert [run.run for run in bill_status(context.store).differing] == [key]


def is_never_changed(quarter: Quarter, key: str) -> bool:
    """Its lines came in time, and stayed as they were."""
    of_run = [readings for readings in quarter.lines["alpha"].values() if readings[0].item.run_key == key]
    return all(
        len(readings) == 1
        and readings[0].item.kind is EntryKind.BILLED
        and readings[0].visible_at - item.period.end < LAG
        for readings in of_run
        for item in [readings[0].item]
    )


def test_what_was_read_is_told(tmp_path: Path) -> None:
    quarter = draw(8, jobs=5)

    with office(tmp_path, quarter) as context:
        move_to(context, END)
        assert isinstance(context.clock, ManualClock)
        pull(context, ("alpha",), is_asked=True)

        [bill] = bill_status(context.store).bills
        assert bill.data_through == END - timedelta(hours=36)
        assert bill.pulled_at == END


def test_two_months_are_read_again_and_more_when_asked(tmp_path: Path) -> None:
    quarter = draw(9, jobs=12)

    with office(tmp_path, quarter) as context:
        move_to(context, SETTLED)
        pull(context, ("alpha",), is_asked=True)

        [again] = pull(context, ("alpha",), is_asked=True)
        [further] = pull(context, ("alpha",), is_asked=True, since=START)
        [later] = pull(context, ("alpha",), is_asked=True, since=SETTLED)

    assert again.start == later.start == datetime(2026, 9, 1, tzinfo=UTC)
    assert further.start == START


def test_the_same_on_postgresql(server: Server, tmp_path: Path) -> None:
    quarter = draw(10, jobs=20)
    store = open_store(server.fresh())

    with office(tmp_path, quarter, store) as context:
        live_through(context, quarter, every=timedelta(days=30))

        assert spent_by_run(store) == dict(quarter.truth)
        check_bills(context, quarter)
    store.close()
