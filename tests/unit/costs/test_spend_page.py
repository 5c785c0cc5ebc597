from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from ftorch.costs.report import SpendReport, SpendRow
from ftorch.costs.spend_page import spend_page

_AS_OF = datetime(2026, 11, 5, 12, tzinfo=UTC)


def row(key: str, amount: str, waste: str = "0") -> SpendRow:
    return SpendRow(
        key=key,
        amount=Decimal(amount),
        currency="USD",
        source="billing_api",
        status="billed",
        entries=1,
        jobs=1,
        list_price=Decimal(amount),
        provisional=Decimal(0),
        billed=Decimal(amount),
        credits=Decimal("-1.5"),
        tax=Decimal(0),
        waste=Decimal(waste),
        estimate=Decimal("1.25"),
        error=Decimal("0.104"),
    )


def report(*rows: SpendRow, by: str = "label:team", unpriced: int = 0) -> SpendReport:
    total = sum((one.amount for one in rows), Decimal(0))
    return SpendReport(by, None, None, _AS_OF, "UTC", total, "USD", rows, row("(all)", str(total)), unpriced)


def page(*rows: SpendRow, months: tuple[SpendRow, ...] = (), unpriced: int = 0) -> str:
    return spend_page(report(*rows, unpriced=unpriced), report(*months, by="month"))


def pictures(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def bars(text: str, which: int) -> list[tuple[str, float]]:
    found = pictures(text)[which].iter("{http://www.w3.org/2000/svg}rect")
    return [(one.attrib["class"], float(one.attrib["width" if which == 0 else "height"])) for one in found]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(row("red", "10"), months=(row("2026-10", "10"),))

    assert not re.search(r"<script|<link|<img|@import|url\(|src=", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_name_is_words_and_never_markup() -> None:
    text = page(row('<b onload="x">&', "10"))

    assert "<b onload" not in text
    assert "&lt;b onload=&quot;x&quot;&gt;&amp;" in text
    assert len(pictures(text)) == 1


def test_a_bar_is_as_long_as_its_amount_and_shows_its_waste() -> None:
    [first, first_waste, second] = bars(page(row("red", "10", waste="4"), row("blue", "5")), 0)

    assert (first[0], first_waste[0], second[0]) == ("good", "waste", "good")
    assert first[1] + first_waste[1] == pytest.approx(2 * second[1], abs=0.2)
    assert first_waste[1] / (first[1] + first_waste[1]) == pytest.approx(0.4, abs=0.01)


def test_what_was_refunded_below_nothing_has_a_number_and_no_bar() -> None:
    text = page(row("red", "10"), row("blue", "-3.25"))

    assert len(bars(text, 0)) == 1
    assert "-3.25" in text


def test_of_many_groups_the_largest_are_drawn_and_the_others_said() -> None:
    text = page(*(row(f"team-{number}", str(40 - number)) for number in range(20)))

    assert len(bars(text, 0)) == 12
    assert "8 more: 196.00" in text
    assert text.count("<tr>") == 1 + 20 + 1


def test_months_stand_side_by_side() -> None:
    text = page(row("red", "3"), months=(row("2026-09", "1"), row("2026-10", "2")))

    [small, large] = bars(text, 1)
    assert large[1] == pytest.approx(2 * small[1], abs=0.2)


def test_an_amount_is_shown_to_the_cent_with_every_digit_behind_it() -> None:
    assert '<span title="1.234567">1.23</span>' in page(row("red", "1.234567"))


def test_runs_without_a_price_are_said() -> None:
    assert "2 runs have no price" in page(row("red", "1"), unpriced=2)
    assert "have no price" not in page(row("red", "1"))


def test_nothing_is_a_page_too() -> None:
    assert pictures(page()) == []
