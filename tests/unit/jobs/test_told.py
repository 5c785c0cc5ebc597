"""What was told at the submit is kept for the report: our estimate, then the provider's own price."""

from __future__ import annotations

from decimal import Decimal

from ftorch.core.money import Money
from unit.jobs.desk import Desk


def test_the_first_quote_is_kept_as_what_was_told(desk: Desk) -> None:
    desk.cloud.quoted = Money(Decimal("6.00"))
    job = desk.submit()

    desk.finish(job)

    assert (desk.job(job).estimate_micro, desk.job(job).estimate_source) == (6_000_000, "quote")


def test_without_a_quote_nothing_takes_the_place_of_the_estimate(desk: Desk) -> None:
    job = desk.submit()

    desk.finish(job)

    assert desk.job(job).estimate_source is None
