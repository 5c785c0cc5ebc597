"""People are told when a bill changes the books, and when the price of a run is final."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.jobs.billing.pull import pull
from ftorch.store import schedule_sql
from ftorch.store.schedule_rows import NoticeRow
from unit.jobs.cloud import NAME, CloudProvider
from unit.jobs.desk import Desk


def told(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """Kind and dollars of every notice, oldest first."""
    rows: Sequence[NoticeRow] = desk.context.store.read().many(NoticeRow, schedule_sql.NOTICES, most=99)
    return [(row.kind, json.loads(row.body)["dollars"]) for row in reversed(rows)]


@pytest.fixture
def bill(monkeypatch: pytest.MonkeyPatch) -> list[LineItem]:
    """The lines of the provider's bill."""
    lines: list[LineItem] = []

    def line_items(_provider: CloudProvider, window: Window) -> Iterator[LineItem]:
        return (line for line in lines if window.start <= line.period.start < window.end)

    monkeypatch.setattr(CloudProvider, "line_items", line_items, raising=False)
    return lines


def line(desk: Desk, reference: str, dollars: str) -> LineItem:
    now = desk.clock.now()
    return LineItem(
        source=SpendSource.BILLING_API,
        source_ref=reference,
        kind=EntryKind.BILLED,
        amount=Money(Decimal(dollars)),
        quantity=Decimal(1),
        unit="line",
        unit_price=None,
        period=Window(now, now),
        as_of=now,
        description="something else",
    )


def test_a_bill_that_changes_the_books_is_told_once_a_day_with_its_dollars(desk: Desk, bill: list[LineItem]) -> None:
    desk.finish(desk.submit())
    pull(desk.context, [NAME], is_asked=True)
    nothing = [kind for kind, _ in told(desk)]

    for number, seconds in enumerate((3600, 3600, 86_400)):
        bill.append(line(desk, f"line {number}", "2.00"))
        desk.clock.advance(seconds)
        pull(desk.context, [NAME], is_asked=True)

    news = [dollars["changed_by"]["amount"] for kind, dollars in told(desk) if kind == "bill"]
    assert (nothing, news) == ([], ["2.00", "2.00"])


def test_the_final_price_of_a_run_is_told_with_what_it_was_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.submit()
    desk.finish(job)
    desk.run_until(lambda: desk.runs(job)[0].charged_at is not None)
    before, first = told(desk), CloudProvider.charges
    # The provider's own price, an hour later, is another.
    monkeypatch.setattr(
        CloudProvider,
        "charges",
        lambda self, ref, history: [
            replace(item, amount=item.amount + item.amount, as_of=desk.clock.now())
            for item in first(self, ref, history)
        ],
    )

    desk.run_until(lambda: desk.runs(job)[0].settled_at is not None, seconds=9000, step=600)

    [(kind, dollars)] = told(desk)
    assert (before, kind) == ([], "bill")
    assert (dollars["spend_before"]["amount"], dollars["spend"]["amount"]) == ("0.06", "0.12")
