"""What a provider with a bill keeps to: every row once, to the cent, whatever the window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from contract.provider_contract import INSTALLATION, Bench
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.providers.base import Bills

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Expected:
    """A bill as the service itself knows it."""

    window: Window
    """Holds every row."""
    amounts: Mapping[str, Decimal]
    """USD by the reference of the row."""
    page_size: int


class BillsBench(Bench):
    """A bench whose provider has a bill. It holds rows of ours and of others."""

    bills: Bills

    @abstractmethod
    def fill(self) -> Expected:
        """Let runs and other things happen until the bill has more rows than a page."""

    @abstractmethod
    def correct(self, source_ref: str, usd: Decimal) -> None:
        """Let the provider change a row of the bill afterwards."""


def _sum(items: list[LineItem]) -> Money:
    return sum((item.amount for item in items), Money(Decimal(0)))


class _Filled:
    @pytest.fixture
    def expected(self, bench: BillsBench) -> Expected:
        return bench.fill()


class CreditsContract(_Filled):
    """Every provider whose bill holds its credits beside the charges. The bench fills in at least one."""

    def test_a_credit_is_no_charge(self, bench: BillsBench, expected: Expected) -> None:
        items = list(bench.bills.line_items(expected.window))
        credit = [item for item in items if item.amount.amount < 0]

        assert credit
        assert {item.kind for item in credit} == {EntryKind.CREDIT}


class BillsContract(_Filled):
    """Every provider whose bill can be read."""

    def test_the_bill_is_complete_to_the_micro(self, bench: BillsBench, expected: Expected) -> None:
        items = list(bench.bills.line_items(expected.window))

        assert len(items) > expected.page_size
        assert {item.source_ref: item.amount.micro for item in items} == {
            ref: Money(usd).micro for ref, usd in expected.amounts.items()
        }
        assert _sum(items).micro == Money(sum(expected.amounts.values(), Decimal(0))).micro

    def test_no_row_comes_twice(self, bench: BillsBench, expected: Expected) -> None:
        refs = [item.source_ref for item in bench.bills.line_items(expected.window)]

        assert len(refs) == len(set(refs))

    def test_reading_again_gives_the_same_rows(self, bench: BillsBench, expected: Expected) -> None:
        first = list(bench.bills.line_items(expected.window))

        assert list(bench.bills.line_items(expected.window)) == first

    def test_every_row_names_the_bill_as_its_source(self, bench: BillsBench, expected: Expected) -> None:
        assert {item.source for item in bench.bills.line_items(expected.window)} == {SpendSource.BILLING_API}
        assert bench.provider.capabilities.spend_source is SpendSource.BILLING_API

    def test_rows_lie_in_their_window(self, bench: BillsBench, expected: Expected) -> None:
        window = expected.window

        for item in bench.bills.line_items(window):
            assert window.start <= item.period.start < window.end

    def test_windows_tile_without_loss_or_overlap(self, bench: BillsBench, expected: Expected) -> None:
        window = expected.window
        items = list(bench.bills.line_items(window))

        for cut in self._cuts(items, window):
            before = list(bench.bills.line_items(Window(window.start, cut)))
            after = list(bench.bills.line_items(Window(cut, window.end)))
            assert sorted([*before, *after], key=_by_ref) == sorted(items, key=_by_ref), f"cut at {cut}"

    def test_the_start_is_in_and_the_end_is_out(self, bench: BillsBench, expected: Expected) -> None:
        row = next(iter(bench.bills.line_items(expected.window)))
        moment = row.period.start

        assert row in list(bench.bills.line_items(Window(moment, moment + _TICK)))
        assert row not in list(bench.bills.line_items(Window(moment - _TICK, moment)))

    def test_an_empty_window_has_no_rows(self, bench: BillsBench, expected: Expected) -> None:
        start = expected.window.start

        assert list(bench.bills.line_items(Window(start, start))) == []

    def test_rows_that_are_not_ours_are_there_without_our_keys(self, bench: BillsBench, expected: Expected) -> None:
        items = list(bench.bills.line_items(expected.window))
        keys = {item.run_key for item in items if item.run_key is not None}

        assert [item for item in items if item.run_key is None]
        assert all(installation_of(key) for key in keys)

    def test_rows_of_our_runs_carry_their_keys(self, bench: BillsBench, expected: Expected) -> None:
        ours = {ref.key for ref in bench.provider.owned(INSTALLATION)}

        keys = {item.run_key for item in bench.bills.line_items(expected.window)}

        assert ours
        assert ours <= keys

    def test_a_corrected_row_keeps_its_reference_and_is_newer(self, bench: BillsBench, expected: Expected) -> None:
        window = expected.window
        row = next(item for item in bench.bills.line_items(window) if item.run_key)
        bench.correct(row.source_ref, Decimal("1.234567"))

        corrected = next(item for item in bench.bills.line_items(window) if item.source_ref == row.source_ref)

        assert corrected.amount == Money(Decimal("1.234567"))
        assert corrected.as_of > row.as_of

    @staticmethod
    def _cuts(items: list[LineItem], window: Window) -> list[datetime]:
        """On, just before and just after the starts and ends of some rows."""
        moments = {item.period.start for item in items[:3]} | {item.period.end for item in items[:2]}
        near = {moment + tick for moment in moments for tick in (-_TICK, timedelta(0), _TICK)}
        return sorted(cut for cut in near if window.start <= cut <= window.end)


def _by_ref(item: LineItem) -> str:
    return item.source_ref
