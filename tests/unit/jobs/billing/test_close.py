from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ftorch.core.errors import BillDiffersError, NotFinishedError, UsageError
from ftorch.costs.items import Window
from ftorch.costs.report import Scope, SpendReport, spend_report
from ftorch.jobs.billing.close import close
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.context import Context
from unit.jobs.billing.quarter import LAG, START, Quarter, charge_ended, move_to, plant_unknown_run, spent_by_run

AUGUST = datetime(2026, 8, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
BILLS = ("alpha", "beta")


def read_until(context: Context, quarter: Quarter, moment: datetime) -> None:
    before = context.clock.now()
    move_to(context, moment)
    charge_ended(context, quarter, before)
    pull(context, BILLS, is_asked=True, since=START)


def by_month(context: Context, **scope: datetime) -> SpendReport:
    return spend_report(context.store.read(), Scope(as_of=scope.get("as_of", context.clock.now())), by="month")


def test_a_month_is_not_closed_before_it_has_settled(context: Context, quarter: Quarter) -> None:
    read_until(context, quarter, AUGUST - TICK)
    with pytest.raises(NotFinishedError, match="2026-07 has not ended"):
        close(context, "2026-07", force=True, note="in a hurry")

    read_until(context, quarter, AUGUST + LAG - TICK)
    with pytest.raises(NotFinishedError, match="has not settled") as refused:
        close(context, "2026-07", force=True, note="in a hurry")

    assert refused.value.hint is not None
    assert "2026-08-02 12:00 UTC" in refused.value.hint


def test_a_month_is_closed_once(context: Context, quarter: Quarter) -> None:
    read_until(context, quarter, AUGUST + 2 * LAG)

    first, again = close(context, "2026-07", force=False, note=None), close(context, "2026-07", force=False, note=None)

    assert (first.is_new, again.is_new, first.closed_at) == (True, False, again.closed_at)
    assert close(context, "2026-06", force=False, note=None).month == "2026-07"


def test_a_month_with_an_unexplained_line_is_not_closed_without_force(context: Context, quarter: Quarter) -> None:
    plant_unknown_run(quarter)
    read_until(context, quarter, AUGUST + 2 * LAG + timedelta(days=30))
    with pytest.raises(BillDiffersError, match=r"line \d+ of alpha, 7.77 USD"):
        close(context, "2026-07", force=False, note=None)
    with pytest.raises(UsageError, match="needs a note"):
        close(context, "2026-07", force=True, note=None)

    done = close(context, "2026-07", force=True, note="their support looks into it")

    assert [one.kind for one in done.missing] == ["unexplained"]
    assert close(context, "2026-07", force=False, note=None).note == "their support looks into it"


def test_what_is_unexplained_later_does_not_stand_in_the_way(context: Context, quarter: Quarter) -> None:
    item = plant_unknown_run(quarter)
    [reading] = quarter.lines["alpha"]["planted"]
    august = replace(item, period=Window(AUGUST, AUGUST + timedelta(hours=1)))
    quarter.lines["alpha"]["planted"] = [replace(reading, item=august)]
    read_until(context, quarter, AUGUST + timedelta(days=30))

    assert close(context, "2026-07", force=False, note=None).is_new


def test_a_month_whose_bill_was_not_read_to_its_end_is_not_closed(context: Context, quarter: Quarter) -> None:
    read_until(context, quarter, AUGUST - timedelta(days=3))
    move_to(context, AUGUST + 2 * LAG)

    with pytest.raises(NotFinishedError, match="the bill of alpha was read until 2026-07-27 12:00 UTC"):
        close(context, "2026-07", force=False, note=None)


def test_a_run_that_no_bill_names_stands_against_closing(context: Context, quarter: Quarter) -> None:
    key = next(row.key for row in quarter.runs if row.provider == "alpha")
    lines = quarter.lines["alpha"]
    for ref in [ref for ref, readings in lines.items() if readings[0].item.run_key == key]:
        del lines[ref]
    read_until(context, quarter, datetime(2026, 11, 1, tzinfo=UTC))

    with pytest.raises(NotFinishedError, match=f"run {key} cost .* by our own figure, and is on no bill"):
        close(context, "2026-09", force=False, note=None)


def test_what_comes_after_the_close_counts_later_and_says_what_it_corrects(context: Context, quarter: Quarter) -> None:
    end = datetime(2026, 10, 1, tzinfo=UTC)
    read_until(context, quarter, end + 2 * LAG)
    close(context, "2026-09", force=True, note="as it is")
    frozen = {row.key: row.amount for row in by_month(context).rows}
    ref, [*_, last] = next(
        (ref, some) for ref, some in quarter.lines["alpha"].items() if some[0].item.run_key in quarter.truth
    )
    dearer = replace(last.item, amount=last.item.amount * 3, as_of=end + 3 * LAG)
    quarter.lines["alpha"][ref].append(replace(last, visible_at=end + 3 * LAG, item=dearer))

    read_until(context, quarter, end + 4 * LAG)

    now = {row.key: row.amount for row in by_month(context).rows}
    assert {month: now[month] for month in frozen} == frozen
    late = [entry for entry in context.store.ledger() if entry.corrects and entry.source_ref == ref]
    assert [entry.amount_micro for entry in late[-2:]] == [-last.item.amount.micro, dearer.amount.micro]
    assert {entry.corrects for entry in late} == {f"{last.item.period.start:%Y-%m}"}
    assert {f"{entry.counted_at:%Y-%m}" for entry in late} == {"2026-10"}


def test_late_bills_reach_the_truth_although_months_are_closed(context: Context, quarter: Quarter) -> None:
    for month in (8, 9, 10, 11):
        read_until(context, quarter, datetime(2026, month, 1, tzinfo=UTC) + 2 * LAG)
        close(context, f"2026-{month - 1:02}", force=True, note="every month")
    read_until(context, quarter, datetime(2026, 12, 1, tzinfo=UTC))

    assert spent_by_run(context.store) == dict(quarter.truth)
    per_month: Counter[str] = Counter()
    for entry in context.store.ledger():
        per_month[f"{entry.counted_at:%Y-%m}"] += 1
        assert entry.counted_at >= START


def test_an_earlier_report_is_repeated_after_corrections_and_a_close(context: Context, quarter: Quarter) -> None:
    read_until(context, quarter, AUGUST + 2 * LAG)
    then = context.clock.now()
    reports = {by: spend_report(context.store.read(), Scope(as_of=then), by=by) for by in ("month", "name", "state")}

    read_until(context, quarter, AUGUST + timedelta(days=60))
    close(context, "2026-08", force=True, note="as it is")
    read_until(context, quarter, AUGUST + timedelta(days=120))

    for by, report in reports.items():
        assert spend_report(context.store.read(), Scope(as_of=then), by=by) == report
    assert by_month(context) != reports["month"]
