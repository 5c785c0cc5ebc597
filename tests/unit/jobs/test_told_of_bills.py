"""People are told when a bill changes the books, and when the price of a run is final."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ftorch.core.errors import ProviderUnavailableError
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


def news(desk: Desk) -> list[str]:
    """By how much the books had changed, of every notice of a bill."""
    return [dollars["changed_by"]["amount"] for kind, dollars in told(desk) if kind == "bill"]


def pulled(desk: Desk, *, days: int = 0) -> list[str]:
    desk.clock.advance(days * 86_400 + 1)
    [found] = pull(desk.context, [NAME], is_asked=False)
    return [found.outcome, *news(desk)]


def test_a_bill_that_changes_nothing_is_no_news(desk: Desk, bill: list[LineItem]) -> None:
    desk.finish(desk.submit())

    assert pulled(desk) == pulled(desk, days=1) == ["pulled"]


def test_a_bill_that_changes_the_books_is_told_once_a_day_and_no_dollar_is_left_out(
    desk: Desk, bill: list[LineItem]
) -> None:
    desk.finish(desk.submit())
    found = []
    for number, days in enumerate((0, 0, 1)):
        bill.append(line(desk, f"line {number}", "2.00"))
        found.append(pulled(desk, days=days)[1:])

    assert found == [["2.00"], ["2.00"], ["2.00", "4.00"]]
    assert pulled(desk, days=1)[1:] == ["2.00", "4.00"]


def test_what_was_read_before_a_later_window_failed_is_told(
    desk: Desk, bill: list[LineItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.finish(desk.submit())
    bill.append(line(desk, "line of this month", "2.00"))
    desk.clock.advance(40 * 86_400)
    bill.append(line(desk, "line of the next month", "3.00"))
    whole = CloudProvider.line_items  # type: ignore[attr-defined]  # the fixture's
    windows: list[Window] = []

    def breaks_off(provider: CloudProvider, window: Window) -> Iterator[LineItem]:
        windows.append(window)
        if len(windows) > 1:
            raise ProviderUnavailableError("it does not answer", provider=NAME, operation="line_items")
        return iter(whole(provider, window))

    with monkeypatch.context() as patched:
        patched.setattr(CloudProvider, "line_items", breaks_off)
        first = pulled(desk)

    assert first == ["failed", "2.00"]
    assert pulled(desk) == ["pulled", "2.00"]
    assert pulled(desk, days=1) == ["pulled", "2.00", "3.00"]


def test_what_nobody_was_told_of_because_the_process_died_is_told_by_the_next_pull(
    desk: Desk, bill: list[LineItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiedError(BaseException):
        """The process is gone."""

    def die(*_: object) -> None:
        raise DiedError

    desk.finish(desk.submit())
    bill.append(line(desk, "line", "2.00"))
    with monkeypatch.context() as patched:
        patched.setattr("ftorch.jobs.billing.pull.tell", die)
        with pytest.raises(DiedError):
            pulled(desk)

    assert news(desk) == []
    assert pulled(desk) == ["pulled", "2.00"]


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
