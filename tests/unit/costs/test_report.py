from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ftorch.core.errors import UsageError
from ftorch.costs.report import month_window, spend_report
from unit.jobs.rows import job
from unit.store.test_store import entry

JOBS = {"a": job(id="a", name="router", labels='{"team": "red"}'), "b": job(id="b", name="judge")}
ENTRIES = [
    entry(job_id="a", amount_micro=2_000_000),
    entry(
        job_id="a",
        amount_micro=500_000,
        source="billing_api",
        kind="billed",
        period_start=datetime(2026, 12, 1, tzinfo=UTC),
    ),
    entry(job_id="b", amount_micro=1_000_000),
    entry(job_id="b", amount_micro=9_000_000, kind="credit"),
    entry(job_id="b", amount_micro=9_000_000, kind="tax"),
]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("name", {"router": "2.5", "judge": "1"}),
        ("job", {"a": "2.5", "b": "1"}),
        ("label:team", {"red": "2.5", "(unlabelled)": "1"}),
        ("month", {"2026-11": "3", "2026-12": "0.5"}),
        ("provider", {"local": "3.5"}),
    ],
)
def test_spend_is_grouped_and_adds_up(by: str, groups: dict[str, str]) -> None:
    report = spend_report(ENTRIES, JOBS, by=by)

    assert {row.key: row.amount for row in report.rows} == {key: Decimal(amount) for key, amount in groups.items()}
    assert report.total == sum(row.amount for row in report.rows)


def test_credit_and_tax_are_not_spend() -> None:
    assert spend_report(ENTRIES, JOBS, by="name").total == Decimal("3.5")


def test_a_group_names_every_source_and_status_in_it() -> None:
    row = spend_report(ENTRIES, JOBS, by="name").rows[0]

    assert (row.source, row.status) == ("billing_api+declared", "billed+provisional")


def test_a_month_ends_before_the_next_one_begins() -> None:
    start, end = month_window("2026-12")

    report = spend_report(ENTRIES, JOBS, by="name", start=start, end=end)

    assert (start, end) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert report.total == Decimal("0.5")


@pytest.mark.parametrize("text", ["2026-13", "october", "2026"])
def test_a_text_that_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a month"):
        month_window(text)
