from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.core.money import Money
from ftorch.costs.compare import Change, Comparison, compare
from ftorch.costs.months import Month
from ftorch.costs.report import Scope, spend_report
from ftorch.store import SqliteStore, Store, Transaction
from unit.costs.test_report import entry
from unit.jobs.rows import ended, job

OCTOBER, NOVEMBER = Month.parse("2026-10"), Month.parse("2026-11")
AS_OF = datetime(2027, 1, 1, tzinfo=UTC)


def run_key(number: int) -> str:
    return f"ft-abc123-01m853egkdvypddzf{number:09}"


def work(
    tx: Transaction, number: int, name: str, month: Month, micro: int, seconds: int, state: str = "succeeded"
) -> None:
    """A run of its own job, billed by the second."""
    tx.insert_job(job(id=f"job-{number}", name=name), "{}")
    tx.insert_run(ended(state, key=run_key(number), job_id=f"job-{number}"))
    line = {"job_id": f"job-{number}", "run_key": run_key(number), "unit": "second", "quantity": Decimal(seconds)}
    at = month.start + timedelta(days=3)
    tx.add_entry(
        entry(**line, amount_micro=micro, source="billing_api", kind="billed", period_start=at, recorded_at=at)
    )


def compared(store: Store) -> Comparison:
    return compare(store.read(), Scope(as_of=AS_OF), NOVEMBER, OCTOBER)


def parts(found: Comparison | Change) -> Mapping[str, Decimal]:
    return {name: getattr(found, name).amount for name in ("volume", "price", "waste", "new_jobs")}


def test_the_four_reasons_are_told_apart(books: Store) -> None:
    def change(tx: Transaction) -> None:
        work(tx, 1, "router", OCTOBER, 10_000_000, 1000)
        work(tx, 2, "router", NOVEMBER, 18_000_000, 1500)  # half as much again, each second a fifth dearer
        work(tx, 3, "router", NOVEMBER, 2_000_000, 200, state="failed")
        work(tx, 4, "judge", NOVEMBER, 3_000_000, 300)

    books.write(change)

    found = compared(books)

    assert parts(found) == {"volume": Decimal(5), "price": Decimal(3), "waste": Decimal(2), "new_jobs": Decimal(3)}
    assert (found.before, found.after, found.difference) == tuple(Money(Decimal(n)) for n in (10, 23, 13))
    assert [(change.name, change.unit) for change in found.changes] == [("router", "second"), ("judge", "second")]


def test_work_that_is_no_more_done_is_volume(books: Store) -> None:
    books.write(lambda tx: work(tx, 1, "router", OCTOBER, 10_000_000, 1000))

    assert parts(compared(books)) == {"volume": Decimal(-10), "price": 0, "waste": 0, "new_jobs": 0}


def test_months_that_were_billed_by_different_things_are_compared_by_runs(books: Store) -> None:
    def change(tx: Transaction) -> None:
        work(tx, 1, "router", OCTOBER, 10_000_000, 1000)
        work(tx, 2, "router", NOVEMBER, 9_000_000, 1000)
        tokens = {"job_id": "job-2", "run_key": run_key(2), "unit": "token", "quantity": Decimal(5)}
        at = NOVEMBER.start
        tx.add_entry(entry(**tokens, amount_micro=1_000_000, source="billing_api", kind="billed", period_start=at))

    books.write(change)

    [change_of] = compared(books).changes
    assert (change_of.unit, parts(change_of)["volume"]) == ("run", Decimal(0))


def test_charges_that_the_bill_has_covered_are_not_counted_twice(books: Store) -> None:
    def change(tx: Transaction) -> None:
        work(tx, 1, "router", OCTOBER, 10_000_000, 1000)
        work(tx, 2, "router", NOVEMBER, 10_000_000, 1000)
        ours = {"job_id": "job-2", "run_key": run_key(2), "source": "run_record", "period_start": NOVEMBER.start}
        tx.add_entry(entry(**ours, amount_micro=9_000_000, unit="second", quantity=Decimal(900)))
        tx.add_entry(entry(**ours, amount_micro=-9_000_000, unit="run", quantity=Decimal(0)))

    books.write(change)

    assert set(parts(compared(books)).values()) == {Decimal(0)}


def test_the_volume_of_a_run_beside_whose_machines_a_fee_is_billed_is_that_of_the_machines(books: Store) -> None:
    def change(tx: Transaction) -> None:
        for number, month, seconds in ((1, OCTOBER, 1000), (2, NOVEMBER, 1500)):
            tx.insert_job(job(id=f"job-{number}", name="router"), "{}")
            tx.insert_run(ended("succeeded", key=run_key(number), job_id=f"job-{number}"))
            ours = {"job_id": f"job-{number}", "run_key": run_key(number), "period_start": month.start}
            machines = {"source": "measured_time", "unit": "second", "quantity": Decimal(seconds)}
            fee = {"source": "billing_api", "kind": "billed", "unit": "credit", "quantity": Decimal(2)}
            tx.add_entry(entry(**ours, **machines, amount_micro=seconds * 10_000))
            tx.add_entry(entry(**ours, **fee, amount_micro=seconds * 2_000, scope="platform_fee"))

    books.write(change)

    [change_of] = compared(books).changes
    assert (change_of.unit, parts(change_of)["volume"]) == ("second", Decimal(6))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["router", "judge", "writer"]),
            st.sampled_from([OCTOBER, NOVEMBER]),
            st.integers(-(10**9), 10**12),
            st.integers(0, 10**6),
            st.sampled_from(["succeeded", "failed", "stopped"]),
        ),
        max_size=12,
    )
)
def test_the_parts_add_up_to_the_micro(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, Month, int, int, str]]
) -> None:
    store = SqliteStore.open(Path(tmp_path_factory.mktemp("compare")) / "books.db")

    def change(tx: Transaction) -> None:
        for number, (name, month, micro, seconds, state) in enumerate(runs):
            work(tx, number, name, month, micro, seconds, state)

    store.write(change)
    found = compared(store)

    every: list[Comparison | Change] = [found, *found.changes]
    for one in every:
        assert sum(parts(one).values(), Decimal(0)) == (one.after - one.before).amount
    for month, amount in ((OCTOBER, found.before), (NOVEMBER, found.after)):
        scope = Scope(as_of=AS_OF, start=month.start, end=month.end)
        assert spend_report(store.read(), scope, by="name").total == amount.amount
    store.close()
