"""A line explained, and settled by a person's word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ftorch.core.errors import UsageError
from ftorch.core.money import Money
from ftorch.costs.items import Place
from ftorch.costs.report import Scope, spend_report
from ftorch.jobs.billing.explain import assign, explain
from ftorch.jobs.billing.lines import post_lines, settle_unexplained
from ftorch.jobs.billing.place import Bill
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.billing.status import bill_status
from ftorch.jobs.context import Context
from unit.jobs.billing.quarter import (
    INSTALLATION,
    SETTLED,
    START,
    Quarter,
    charge_ended,
    move_to,
    plant_unknown_run,
    spent_by_run,
)
from unit.jobs.rows import run


def live(context: Context) -> None:
    move_to(context, SETTLED)
    pull(context, ("alpha", "beta"), is_asked=True, since=START)


def said(context: Context, reference: str, **changes: object) -> object:
    chosen = {"job": None, "labels": {}, "is_outside": False, "note": "I know", **changes}
    return assign(context, reference, **chosen)  # type: ignore[arg-type]  # the table above has the types


def unexplained(context: Context) -> str:
    [line] = bill_status(context.store).unexplained
    return str(line.id)


@pytest.fixture
def planted(context: Context, quarter: Quarter) -> Context:
    plant_unknown_run(quarter)
    live(context)
    return context


def test_a_line_is_explained_with_its_run_and_revisions(context: Context, quarter: Quarter) -> None:
    live(context)
    charge_ended(context, quarter, START)
    row = next(row for row in quarter.runs if row.provider == "alpha")
    ref = next(ref for ref, readings in quarter.lines["alpha"].items() if readings[0].item.run_key == row.key)

    view = explain(context.store, ref, INSTALLATION)

    assert view.run is not None
    assert (view.place, view.why, view.run.key, view.run.job) == ("run", "its run is here", row.key, row.job_id)
    assert view.run.charged == Money.from_micro(quarter.charges[row.key][0].amount.micro)
    assert view.run.billed.micro == quarter.truth[row.key]
    assert sum((one.amount.amount for one in view.revisions), Decimal(0)) == view.amount.amount
    assert explain(context.store, str(view.id), INSTALLATION) == view


def test_a_foreign_line_says_whose_it_is(context: Context) -> None:
    live(context)

    assert "the installation 'zzzzzz'" in _of(context, "alpha", "their installation/0").why
    assert _of(context, "alpha", "inference/0").why == "nothing in it is ours"


def _of(context: Context, provider: str, ref: str):  # type: ignore[no-untyped-def]  # a LineView
    [entry] = [one for one in context.store.ledger() if (one.provider, one.source_ref) == (provider, ref)]
    return explain(context.store, str(entry.id), INSTALLATION)


def test_a_reference_of_two_lines_is_ambiguous(context: Context) -> None:
    live(context)

    with pytest.raises(UsageError, match="2 lines are called 'inference/0'"):
        explain(context.store, "inference/0", INSTALLATION)


@pytest.mark.parametrize("reference", ["nothing", "0", "99999999999999999999999"])
def test_a_line_that_is_not_there_is_said(context: Context, reference: str) -> None:
    with pytest.raises(UsageError, match="no line of a bill is called"):
        explain(context.store, reference, INSTALLATION)


def test_a_line_given_to_a_job_is_its_spend(planted: Context, quarter: Quarter) -> None:
    job = quarter.jobs[0]
    before = sum(entry.amount_micro for entry in planted.store.ledger_of(job.id))

    said(planted, unexplained(planted), job=job.id)

    after = sum(entry.amount_micro for entry in planted.store.ledger_of(job.id))
    assert after - before == 7_770_000
    assert bill_status(planted.store).is_explained


def test_a_line_given_to_labels_is_spend_under_them(planted: Context) -> None:
    said(planted, unexplained(planted), labels={"team": "green"})

    report = spend_report(planted.store.read(), Scope(as_of=SETTLED), by="label:team")

    assert {row.key: row.amount for row in report.rows}["green"] == Decimal("7.77")
    assert bill_status(planted.store).is_explained


def test_a_line_that_is_not_ours_goes_outside(planted: Context) -> None:
    before = {bill.provider: bill.outside for bill in bill_status(planted.store).bills}

    said(planted, unexplained(planted), is_outside=True)

    after = {bill.provider: bill.outside for bill in bill_status(planted.store).bills}
    assert after["alpha"] - before["alpha"] == Money(Decimal("7.77"))


def test_a_word_holds_for_later_readings_too(planted: Context, quarter: Quarter) -> None:
    said(planted, unexplained(planted), labels={"team": "green"}, note="asked them")
    [reading] = quarter.lines["alpha"]["planted"]
    later = replace(reading.item, amount=Money(Decimal("9.00")), as_of=SETTLED)
    quarter.lines["alpha"]["planted"].append(replace(reading, visible_at=SETTLED, item=later))
    pull(planted, ("alpha",), is_asked=True, since=START)

    view = explain(planted.store, "planted", INSTALLATION)

    assert (view.place, view.amount, view.why) == ("assigned", Money(Decimal(9)), "by a person's word: asked them")
    assert [word.note for word in view.words] == ["asked them"]


def test_a_word_can_be_taken_back(planted: Context) -> None:
    said(planted, unexplained(planted), labels={"team": "green"})
    said(planted, "planted", is_outside=True, note="it was theirs after all")

    view = explain(planted.store, "planted", INSTALLATION)

    assert (view.place, [word.note for word in view.words]) == ("outside", ["I know", "it was theirs after all"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "where does the line belong"),
        ({"labels": {"team": "a"}, "is_outside": True}, "where does the line belong"),
        ({"is_outside": True, "note": " "}, "needs a note"),
        ({"job": "nobody"}, "no job is called"),
    ],
)
def test_a_word_says_where_and_why(planted: Context, words: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        said(planted, "planted", **words)


def test_a_run_that_answers_for_its_line_is_no_matter_of_opinion(context: Context, quarter: Quarter) -> None:
    live(context)
    ref = next(ref for ref, readings in quarter.lines["alpha"].items() if readings[0].item.run_key in quarter.truth)

    with pytest.raises(UsageError, match="its run is here"):
        said(context, ref, is_outside=True)


def test_an_unexplained_line_finds_its_run_once_that_is_adopted(planted: Context, quarter: Quarter) -> None:
    [reading] = quarter.lines["alpha"]["planted"]
    key = reading.item.run_key
    assert key is not None
    # Read once more, by a bill that has no as-of time but that of the reading.
    again = replace(reading.item, as_of=SETTLED)
    post_lines(planted, Bill("alpha", "acct", INSTALLATION), iter([again]))
    adopted = run(key=key, job_id=quarter.jobs[0].id, number=9, provider="alpha", account="acct", ended_at=START)
    planted.store.write(lambda tx: tx.insert_run(adopted))

    assert settle_unexplained(planted) == 1
    assert settle_unexplained(planted) == 0
    assert explain(planted.store, "planted", INSTALLATION).place == Place.RUN
    assert spent_by_run(planted.store)[key] == 7_770_000


def test_a_differing_bill_is_accepted_by_a_note(context: Context, quarter: Quarter) -> None:
    for key, [charge] in quarter.charges.items():
        quarter.charges[key] = [replace(charge, amount=charge.amount * 5)]
    live(context)
    charge_ended(context, quarter, START)
    [*others, last] = bill_status(context.store).differing

    assert said(context, last.run, note="their price went up") is None

    assert bill_status(context.store).differing == others
    with pytest.raises(UsageError, match="does not differ"):
        said(context, last.run)
    move_to(context, SETTLED + timedelta(days=1))
