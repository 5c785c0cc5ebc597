"""A run's spend while its bill comes in, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.money import Money
from ftorch.costs.cover import cover
from ftorch.costs.items import EntryKind, SpendSource
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

    def bill(self, usd: str, ref: str, kind: EntryKind = EntryKind.BILLED, key: str | None = None) -> None:
        line = replace(item(usd, ref=ref), source=SpendSource.BILLING_API, kind=kind, run_key=key or self.run.key)

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


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    run = ended("succeeded", billable_from=NOW, billable_to=END)
    store.write(lambda tx: tx.insert_job(job(), "{}"))
    store.write(lambda tx: tx.insert_run(run))
    yield Books(store, run)
    store.close()


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


def test_a_second_look_appends_nothing(books: Books) -> None:
    books.charge("10")
    books.bill("4", "hour-0")
    books.read_until(3)

    assert books.store.write(lambda tx: cover(tx, books.run.key, now=NOW)) == 0
    assert [Decimal(entry.amount_micro) / 1_000_000 for entry in books.store.ledger()] == [10, 4, -4, -6]
