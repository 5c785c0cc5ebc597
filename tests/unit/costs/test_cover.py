"""A run's spend while its bill comes in, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.core.money import Money
from ftorch.costs.cover import cover
from ftorch.costs.items import EntryKind, Scope, SpendSource
from ftorch.costs.ledger import post, post_charges
from ftorch.store import BillRow, RunRow, SqliteStore, Transaction, bill_sql
from unit.costs.test_ledger import NOW, item
from unit.jobs.rows import ended, job

END = NOW + timedelta(hours=3)


@dataclass
class Books:
    """A ledger with one run that has ended."""

    store: SqliteStore
    run: RunRow

    def charge(self, usd: str, *, source: SpendSource = SpendSource.RUN_RECORD, minutes: int = 0) -> None:
        charged = replace(item(usd, as_of=END + timedelta(minutes=minutes)), source=source)
        self.store.write(lambda tx: post_charges(tx, self.run, [charged], now=NOW))

    def charge_beside(self, machines: str, fee: str) -> None:
        """Measured time of machines on another bill, and the fee that a record has so far."""
        measured = replace(item(machines, ref="job/time", as_of=END), source=SpendSource.MEASURED_TIME)
        recorded = replace(item(fee, ref="job/usage", as_of=END), scope=Scope.PLATFORM_FEE)
        items = [measured, *([recorded] if recorded.amount.amount else [])]
        self.store.write(lambda tx: post_charges(tx, self.run, items, now=NOW))

    def bill(
        self,
        usd: str,
        ref: str,
        kind: EntryKind = EntryKind.BILLED,
        key: str | None = None,
        scope: Scope = Scope.RUN,
    ) -> None:
        line = replace(
            item(usd, ref=ref),
            source=SpendSource.BILLING_API,
            kind=kind,
            run_key=key or self.run.key,
            scope=scope,
        )

        def change(tx: Transaction) -> None:
            post(tx, line, provider="local", account="here", job_id="job-1", now=NOW)
            cover(tx, self.run.key, now=NOW)

        self.store.write(change)

    def read_until(self, hours: int) -> None:
        row = BillRow(
            provider="local",
            account="here",
            source="billing_api",
            data_through=NOW + timedelta(hours=hours),
            pulled_at=NOW + timedelta(hours=hours),
        )

        def change(tx: Transaction) -> None:
            tx.insert(bill_sql.PUT_BILL, row)
            cover(tx, self.run.key, now=NOW)

        self.store.write(change)

    @property
    def spend(self) -> str:
        kinds = ("provisional", "billed", "adjusted")
        micro = sum(entry.amount_micro for entry in self.store.ledger() if entry.kind in kinds)
        return str(Money.from_micro(micro).amount)


@contextmanager
def opened(folder: Path) -> Iterator[Books]:
    store = SqliteStore.open(folder / "ftorch.db")
    run = ended("succeeded", billable_from=NOW, billable_to=END)
    store.write(lambda tx: tx.insert_job(job(), "{}"))
    store.write(lambda tx: tx.insert_run(run))
    yield Books(store, run)
    store.close()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with opened(tmp_path) as books:
        yield books


def test_the_larger_figure_counts_until_the_bill_reaches_the_end_of_the_run(books: Books) -> None:
    books.charge("10")
    seen = [books.spend]
    for number, usd in enumerate(("4", "3", "5")):
        books.bill(usd, f"hour-{number}")
        seen.append(books.spend)

    assert seen == ["10", "10", "10", "12"]


def test_the_bill_has_the_last_word_once_it_reaches_the_end_of_the_run(books: Books) -> None:
    books.charge("10")
    books.bill("4", "hour-0")
    books.read_until(2)
    before = books.spend
    books.read_until(3)

    assert (before, books.spend) == ("10", "4")


def test_a_charge_that_comes_after_the_bill_adds_nothing(books: Books) -> None:
    books.bill("4", "hour-0")
    books.read_until(3)
    books.charge("10")
    books.charge("9", minutes=5)
    books.charge("8", source=SpendSource.MEASURED_TIME, minutes=10)

    assert books.spend == "4"


def test_a_bill_that_is_all_refunded_leaves_nothing(books: Books) -> None:
    books.charge("10")
    books.bill("10", "hour-0")
    books.bill("-10", "refund", EntryKind.ADJUSTED)
    books.read_until(3)

    assert books.spend == "0"


@pytest.mark.parametrize("kind", [EntryKind.CREDIT, EntryKind.TAX])
def test_a_credit_or_tax_says_nothing_about_what_the_run_cost(books: Books, kind: EntryKind) -> None:
    books.charge("10")
    books.bill("-2", "beside", kind)
    books.read_until(3)

    assert books.spend == "10"


def test_lines_of_a_duplicate_cover_what_was_charged_under_their_key(books: Books) -> None:
    twin = replace(books.run, key=f"{books.run.key}/2", number=2)
    books.store.write(lambda tx: tx.insert_run(twin))
    books.charge("10")
    charged = replace(item("6", ref="twin/price", as_of=END), source=SpendSource.RUN_RECORD)
    books.store.write(lambda tx: post_charges(tx, twin, [charged], now=NOW))
    books.bill("15", "both")
    books.read_until(3)

    assert books.spend == "15"


def test_a_run_that_goes_on_is_never_covered_whole(books: Books) -> None:
    twin = replace(books.run, key=f"{books.run.key}/2", number=2, billable_to=None, ended_at=None)
    books.store.write(lambda tx: tx.insert_run(twin))
    books.charge("10")
    books.bill("4", "hour-0")
    books.read_until(100)

    assert books.spend == "10"


def test_a_fee_on_the_bill_takes_nothing_off_the_machines(books: Books) -> None:
    books.charge_beside("10", "0")
    books.bill("2", "day-0", scope=Scope.PLATFORM_FEE)
    before = books.spend
    books.read_until(3)

    assert (before, books.spend) == ("12", "12")


def test_a_fee_that_is_on_the_bill_is_not_counted_from_the_record_too(books: Books) -> None:
    books.charge_beside("10", "3")
    with_the_record = books.spend
    books.bill("2", "day-0", scope=Scope.PLATFORM_FEE)
    with_half_a_bill = books.spend
    books.read_until(3)

    assert (with_the_record, with_half_a_bill, books.spend) == ("13", "13", "12")


def test_records_of_a_run_and_of_a_fee_under_one_key_are_covered_each_by_its_own_lines(books: Books) -> None:
    twin = replace(books.run, key=f"{books.run.key}/2", number=2)
    books.store.write(lambda tx: tx.insert_run(twin))
    recorded = replace(item("6", ref="twin/usage", as_of=END), source=SpendSource.RUN_RECORD)
    books.store.write(lambda tx: post_charges(tx, twin, [recorded], now=NOW))
    books.charge_beside("10", "3")
    books.bill("2", "day-0", scope=Scope.PLATFORM_FEE)
    books.bill("5", "day-1")
    books.read_until(3)

    assert books.spend == "7"


def test_a_bill_of_the_machines_that_a_person_brings_takes_the_place_of_their_time(books: Books) -> None:
    books.charge_beside("10", "2")
    books.bill("2", "day-0", scope=Scope.PLATFORM_FEE)
    books.bill("7", "aws-1")
    books.read_until(3)

    assert books.spend == "9"


def test_a_line_keeps_the_scope_that_it_came_with(books: Books) -> None:
    books.charge_beside("10", "2")
    books.bill("2", "day-0", scope=Scope.PLATFORM_FEE)
    books.read_until(3)

    books.bill("2.50", "day-0", scope=Scope.RUN)

    assert books.spend == "12.5"


def test_a_bill_that_turns_out_to_be_a_fee_gives_the_machines_back(books: Books) -> None:
    """As an upgrade finds it out, of rows that came before anybody told the two apart."""
    books.charge("5")
    books.bill("2", "day-0")
    books.read_until(10)
    before = books.spend
    statement = "UPDATE ledger SET scope = 'platform_fee' WHERE source = 'billing_api'"
    books.store.write(lambda tx: tx.run(statement))

    books.read_until(10)

    assert (before, books.spend) == ("2", "7")


_CENTS = st.integers(1, 2000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(machines=_CENTS, fees=st.lists(_CENTS, min_size=1, max_size=4), order=st.randoms(use_true_random=False))
def test_machines_and_fee_add_up_whatever_comes_first_late_or_twice(
    tmp_path_factory: pytest.TempPathFactory, machines: int, fees: list[int], order: Random
) -> None:
    """The record is read before and after its last row; lines come in any order, and again."""
    whole, so_far = sum(fees), sum(fees[:-1])
    with opened(tmp_path_factory.mktemp("books")) as books:
        rows = [partial(books.bill, _usd(fee), f"day-{day}", scope=Scope.PLATFORM_FEE) for day, fee in enumerate(fees)]
        reads = [partial(books.charge_beside, _usd(machines), _usd(fee)) for fee in (0, so_far, whole)]
        steps: list[Callable[[], None]] = [*rows, *rows, *reads, partial(books.read_until, 3)]
        order.shuffle(steps)
        for step in steps:
            step()
        reads[-1]()

        assert Decimal(books.spend) == Decimal(machines + whole) / 100
        assert books.store.write(lambda tx: cover(tx, books.run.key, now=NOW)) == 0


def _usd(cents: int) -> str:
    return str(Decimal(cents) / 100)


def test_a_second_look_appends_nothing(books: Books) -> None:
    books.charge("10")
    books.bill("4", "hour-0")
    books.read_until(3)

    assert books.store.write(lambda tx: cover(tx, books.run.key, now=NOW)) == 0
    assert [Decimal(entry.amount_micro) / 1_000_000 for entry in books.store.ledger()] == [10, 4, -4, -6]
