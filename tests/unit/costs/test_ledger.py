from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Place, SpendSource, Window, time_charge
from ftorch.costs.ledger import post, post_charges
from ftorch.store import RunRow, SqliteStore, Transaction, sql
from unit.jobs.rows import job, run

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def item(amount: str = "1.50", ref: str = "run/time", as_of: datetime = NOW) -> LineItem:
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=ref,
        kind=EntryKind.PROVISIONAL,
        amount=Money(Decimal(amount)),
        quantity=Decimal(1),
        unit="job",
        unit_price=None,
        period=Window(NOW, NOW),
        as_of=as_of,
        description="training",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


def posted(store: SqliteStore, *items: LineItem) -> list[int]:
    return [
        store.write(lambda tx, one=one: post(tx, one, provider="p", account="a", job_id=None, now=NOW))  # type: ignore[misc]  # mypy cannot infer a default's type
        for one in items
    ]


def amounts(store: SqliteStore) -> list[int]:
    return [entry.amount_micro for entry in store.ledger()]


def test_the_same_item_twice_is_one_entry(store: SqliteStore) -> None:
    assert posted(store, item(), item()) == [1, 0]
    assert amounts(store) == [1_500_000]


def test_a_corrected_amount_reverses_the_old_one_exactly(store: SqliteStore) -> None:
    posted(store, item("1.50"), item("1.20", as_of=NOW + timedelta(days=1)))

    assert amounts(store) == [1_500_000, -1_500_000, 1_200_000]


def test_an_older_reading_changes_nothing(store: SqliteStore) -> None:
    posted(store, item("1.50"))

    assert posted(store, item("9.99", as_of=NOW - timedelta(days=1))) == [0]


def test_a_provisional_amount_that_is_billed_as_it_was_changes_its_kind(store: SqliteStore) -> None:
    billed = replace(item(as_of=NOW + timedelta(days=1)), kind=EntryKind.BILLED)

    posted(store, item(), billed)

    assert [entry.kind for entry in store.ledger()] == ["provisional", "provisional", "billed"]
    assert sum(amounts(store)) == 1_500_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 20)), min_size=1, max_size=12))
def test_the_sum_is_always_the_newest_amount(
    tmp_path_factory: pytest.TempPathFactory, readings: list[tuple[int, int]]
) -> None:
    opened = SqliteStore.open(tmp_path_factory.mktemp("ledger") / "ftorch.db")
    newest = (-1, 0)
    for micro, day in readings:
        reading = item(str(Decimal(micro).scaleb(-6)), as_of=NOW + timedelta(days=day))
        posted(opened, reading)
        newest = max(newest, (day, micro))

        assert sum(amounts(opened)) == newest[1], "of two readings of one moment the dearer counts"
    opened.close()


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


def test_an_old_amount_that_comes_late_is_old_although_the_newer_one_changed_nothing(store: SqliteStore) -> None:
    posted(store, item("5.00", as_of=day(1)), item("5.00", as_of=day(3)))

    assert posted(store, item("6.00", as_of=day(2))) == [0]


def test_what_is_known_of_an_amount_never_gets_older(store: SqliteStore) -> None:
    posted(store, item("5.00", as_of=day(1)), item("5.00", as_of=day(4)), item("5.00", as_of=day(2)))

    assert posted(store, item("6.00", as_of=day(3))) == [0]


@pytest.mark.parametrize("order", [("5.00", "6.00"), ("6.00", "5.00")])
def test_of_two_amounts_of_one_moment_the_dearer_counts(store: SqliteStore, order: tuple[str, str]) -> None:
    posted(store, *(item(amount) for amount in order))

    assert sum(amounts(store)) == 6_000_000


def test_a_line_that_belongs_elsewhere_moves(store: SqliteStore) -> None:
    def at(place: Place) -> int:
        return store.write(
            lambda tx: post(tx, item("5.00"), provider="p", account="a", job_id=None, now=NOW, place=place)
        )

    assert [at(Place.UNEXPLAINED), at(Place.OUTSIDE), at(Place.OUTSIDE)] == [1, 2, 0]
    assert [(entry.place, entry.amount_micro) for entry in store.ledger()] == [
        ("unexplained", 5_000_000),
        ("unexplained", -5_000_000),
        ("outside", 5_000_000),
    ]


@pytest.mark.parametrize(
    ("unit_price", "amount", "kind", "listed"),
    [
        ("0.10", "0.80", EntryKind.BILLED, "1.00"),
        (None, "0.80", EntryKind.BILLED, "0.80"),
        ("0.0800001", "0.80", EntryKind.BILLED, "0.80"),
        ("0.10", "-0.80", EntryKind.CREDIT, "0"),
        ("0.10", "0.80", EntryKind.TAX, "0"),
    ],
)
def test_the_list_price_is_that_of_the_unit(unit_price: str | None, amount: str, kind: EntryKind, listed: str) -> None:
    price = Decimal(unit_price) if unit_price else None
    one = replace(item(amount), unit_price=price, quantity=Decimal(10), kind=kind)

    assert one.list_amount.amount == Decimal(listed)


def test_time_is_charged_exactly_and_rounded_once() -> None:
    charge = time_charge(Decimal("3.99"), Window(NOW, NOW + timedelta(seconds=100)))

    assert charge.amount == Decimal("3.99") * 100 / 3600
    assert charge.micro == 110_833


def answer_with(store: SqliteStore, made: RunRow, *answers: LineItem) -> None:
    def change(tx: Transaction) -> None:
        for answer in answers:
            post_charges(tx, made, [answer], now=NOW)

    store.write(change)


def ledger_run(tx: Transaction) -> RunRow:
    made = run()
    tx.insert_job(job(), "{}")
    tx.insert_run(made)
    return made


def test_an_answer_from_another_source_takes_the_place_of_the_earlier_one(store: SqliteStore) -> None:
    made = store.write(ledger_run)
    measured = replace(item("0.06"), source=SpendSource.MEASURED_TIME)
    record = item("0.05", ref="record", as_of=NOW + HOUR)

    answer_with(store, made, measured, record, record, replace(measured, as_of=NOW + 2 * HOUR))

    assert [entry.amount_micro for entry in store.ledger()] == [60_000, 50_000, -60_000, 60_000, -50_000]


def test_no_answer_leaves_the_earlier_one_standing(store: SqliteStore) -> None:
    made = store.write(ledger_run)
    answer_with(store, made, item("0.06"))

    store.write(lambda tx: post_charges(tx, made, [], now=NOW))

    assert [entry.amount_micro for entry in store.ledger()] == [60_000]


def test_a_row_of_the_bill_is_no_answer_about_a_run_and_stays_the_last_word(store: SqliteStore) -> None:
    made = store.write(ledger_run)
    billed = replace(item("0.07", as_of=NOW), source=SpendSource.BILLING_API, source_ref="bill-1", run_key=made.key)
    store.write(lambda tx: post(tx, billed, provider="cloud", account="acct", job_id=made.job_id, now=NOW))

    answer_with(store, made, item("0.06"))

    assert [entry.amount_micro for entry in store.ledger()] == [70_000, 60_000, -60_000]


def test_spend_is_every_kind_but_tax_and_credit() -> None:
    assert set(EntryKind) - set(sql.SPEND_KINDS) == {EntryKind.TAX, EntryKind.CREDIT}
