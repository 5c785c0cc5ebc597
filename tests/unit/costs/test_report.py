from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from ftorch.core.errors import UsageError
from ftorch.costs.months import Month, months, time_zone
from ftorch.costs.report import GROUPS, Scope, SpendReport, spend_report
from ftorch.store import LedgerRow, RunRow, Store, Transaction
from unit.jobs.rows import NOW, charge, ended, job

AS_OF = NOW + timedelta(days=60)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
RED = "ft-abc123-01m853egkdvypddzfanrkc5c05"
LOST = "ft-abc123-01m853egkdvypddzfanrkc5c06"
_REFS = (f"line-{number}" for number in count())


def entry(**changes: Any) -> LedgerRow:
    made = charge(**{"source_ref": next(_REFS), "run_key": None, "list_micro": 0, **changes})
    return replace(made, counted_at=changes.get("counted_at", made.period_start))


def fill(store: Store, *entries: LedgerRow, runs: tuple[RunRow, ...] = ()) -> None:
    def change(tx: Transaction) -> None:
        tx.insert_job(
            job(id="a", name="router", labels='{"team": "red", "owner": "ada"}', estimate_micro=2_000_000), "{}"
        )
        tx.insert_job(job(id="b", name="judge", base_model="qwen", host="there"), "{}")
        for row in runs:
            tx.insert_run(row)
        for one in entries:
            tx.add_entry(one)

    store.write(change)


def report(store: Store, by: str, **changes: Any) -> SpendReport:
    return spend_report(store.read(), Scope(**{"as_of": AS_OF, **changes}), by=by)


def amounts(store: Store, by: str, **changes: Any) -> dict[str, str]:
    return {row.key: str(row.amount.normalize()) for row in report(store, by, **changes).rows}


@pytest.fixture
def filled(books: Store) -> Store:
    fill(
        books,
        entry(job_id="a", run_key=RED, amount_micro=2_000_000, list_micro=2_500_000),
        entry(
            job_id="a", run_key=LOST, amount_micro=500_000, source="billing_api", kind="billed", period_start=DECEMBER
        ),
        entry(job_id="b", amount_micro=1_000_000, provider="cloud"),
        entry(job_id="b", amount_micro=-9_000_000, kind="credit", source="billing_api"),
        entry(job_id=None, amount_micro=4_000_000, kind="tax", source="billing_api", place="outside"),
        entry(job_id=None, amount_micro=8_000_000, kind="billed", source="billing_api", place="outside"),
        entry(job_id=None, amount_micro=7_000_000, kind="billed", source="billing_api", place="unexplained"),
        entry(
            job_id=None,
            amount_micro=250_000,
            kind="billed",
            source="billing_api",
            place="assigned",
            labels='{"team": "blue"}',
        ),
        runs=(ended("succeeded", key=RED, job_id="a"), ended("failed", key=LOST, job_id="a", number=2)),
    )
    return books


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("name", {"router": "2.5", "judge": "1", "(no job)": "0.25"}),
        ("job", {"a": "2.5", "b": "1", "(no job)": "0.25"}),
        ("label:team", {"red": "2.5", "(unlabelled)": "1", "blue": "0.25", "(no job)": "0"}),
        ("month", {"2026-11": "3.25", "2026-12": "0.5"}),
        ("provider", {"local": "2.75", "cloud": "1"}),
        ("model", {"builtin:tiny": "2.5", "qwen": "1", "(no job)": "0.25"}),
        ("method", {"sft": "3.5", "(no job)": "0.25"}),
        ("owner", {"ada": "2.5", "there": "1", "(no job)": "0.25"}),
        ("state", {"succeeded": "2", "failed": "0.5", "(no run)": "1.25"}),
    ],
)
def test_spend_is_grouped_and_adds_up(filled: Store, by: str, groups: dict[str, str]) -> None:
    found = report(filled, by)

    assert amounts(filled, by) == groups
    assert found.total == sum(row.amount for row in found.rows) == Decimal("3.75")
    assert found.in_all.credits == sum(row.credits for row in found.rows) == Decimal(-9)
    assert found.in_all.tax == sum(row.tax for row in found.rows) == Decimal(4)
    assert found.in_all.waste == sum(row.waste for row in found.rows) == Decimal("0.5")


def test_every_group_is_tested() -> None:
    assert set(GROUPS) == {"job", "name", "provider", "model", "method", "owner", "state", "month"}


def test_lines_that_are_not_ours_and_those_unexplained_are_no_spend(filled: Store) -> None:
    assert report(filled, "provider").in_all.billed == Decimal("0.75")


def test_list_billed_and_provisional_stand_side_by_side(filled: Store) -> None:
    row = report(filled, "name").rows[0]

    assert (row.list_price, row.billed, row.provisional, row.amount) == (
        Decimal("2.5"),
        Decimal("0.5"),
        Decimal(2),
        Decimal("2.5"),
    )
    assert (row.source, row.status) == ("billing_api+measured_time", "billed+provisional")


def test_what_nets_to_nothing_is_no_source(books: Store) -> None:
    fill(
        books,
        entry(job_id="a", amount_micro=5, source="run_record"),
        entry(job_id="a", amount_micro=-5, source="run_record"),
        entry(job_id="a", amount_micro=7, source="billing_api", kind="billed"),
    )

    [row] = report(books, "name").rows

    assert (row.source, row.status) == ("billing_api", "billed")


def test_an_estimate_stands_beside_what_its_jobs_cost(filled: Store) -> None:
    by_name = {row.key: row for row in report(filled, "name").rows}

    assert by_name["router"].estimate == Decimal(2)
    assert by_name["router"].error == Decimal("0.25")
    assert by_name["judge"].estimate is None


def test_a_job_in_two_groups_tells_about_neither(filled: Store) -> None:
    assert {row.estimate for row in report(filled, "state").rows} == {None}


def test_a_month_ends_before_the_next_one_begins(filled: Store) -> None:
    december = Month.parse("2026-12")

    found = report(filled, "name", start=december.start, end=december.end)

    assert (december.start, december.end) == (DECEMBER, datetime(2027, 1, 1, tzinfo=UTC))
    assert found.total == Decimal("0.5")


def test_months_are_those_of_the_time_zone(books: Store) -> None:
    last_evening = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    fill(books, entry(job_id="a", amount_micro=1_000_000, period_start=last_evening), entry(job_id="a", amount_micro=3))

    assert amounts(books, "month") == {"2026-10": "1", "2026-11": "0.000003"}
    assert amounts(books, "month", zone=time_zone("Europe/Paris")) == {"2026-11": "1.000003"}


def test_a_report_as_of_earlier_knows_only_what_was_recorded(filled: Store) -> None:
    filled.write(lambda tx: tx.add_entry(entry(job_id="a", amount_micro=1, recorded_at=AS_OF + timedelta(seconds=1))))

    assert report(filled, "name").total == Decimal("3.75")
    assert report(filled, "name", as_of=AS_OF + timedelta(days=1)).total == Decimal("3.750001")


def test_a_run_that_ended_later_was_open_then(filled: Store) -> None:
    assert amounts(filled, "state", as_of=NOW - timedelta(seconds=1)) == {}
    later = replace(ended("failed", key=LOST[:-1] + "9", job_id="a", number=3), ended_at=AS_OF + timedelta(days=1))
    filled.write(lambda tx: tx.insert_run(later))
    filled.write(lambda tx: tx.add_entry(entry(job_id="a", run_key=later.key, amount_micro=6)))

    found = {row.key: row for row in report(filled, "state").rows}

    assert found["open"].waste == 0
    assert {row.key for row in report(filled, "state", as_of=AS_OF + timedelta(days=2)).rows} >= {"failed"}
    assert "open" not in amounts(filled, "state", as_of=AS_OF + timedelta(days=2))


def test_one_job_alone(filled: Store) -> None:
    assert amounts(filled, "provider", job_id="b") == {"cloud": "1", "local": "0"}
    assert amounts(filled, "month", job_id="b") == {"2026-11": "1"}


def test_runs_without_a_price_are_counted(filled: Store) -> None:
    unpriced = replace(ended("failed", key=LOST[:-1] + "8", job_id="b"), billable_from=NOW)
    filled.write(lambda tx: tx.insert_run(unpriced))

    assert report(filled, "name").unpriced_runs == 1
    assert report(filled, "name", job_id="a").unpriced_runs == 0


def test_nothing_is_a_report_too(books: Store) -> None:
    assert [report(books, by).rows for by in ("name", "month", "state")] == [[], [], []]


@pytest.mark.parametrize("text", ["2026-13", "october", "2026"])
def test_a_text_that_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a month"):
        Month.parse(text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="no time zone is called 'Mars/Olympus'"):
        time_zone("Mars/Olympus")


def test_months_follow_one_another_over_the_change_of_clocks() -> None:
    zone = time_zone("America/New_York")

    found = months(datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2027, 1, 1, 4, tzinfo=UTC), zone)

    assert [month.name for month in found] == ["2026-10", "2026-11", "2026-12"]
    assert [month.start for month in found[1:]] == [month.end for month in found[:-1]]
    assert [month.start.hour for month in found] == [4, 4, 5]
