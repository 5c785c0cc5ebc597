from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.money import Money, exact, plain

micros = st.integers(min_value=-(10**15), max_value=10**15)


@pytest.mark.parametrize(
    ("text", "amount"), [("25.00 USD", "25.00"), ("0.0005 USD", "0.0005"), (" 7 USD ", "7"), ("7USD", "7")]
)
def test_an_amount_is_read_with_its_currency(text: str, amount: str) -> None:
    assert Money.parse(text).amount == Decimal(amount)


@pytest.mark.parametrize("text", ["25", "25.00", "USD", "-1 USD", "1e3 USD", "NaN USD", "25.00 usd", ""])
def test_a_text_that_is_no_amount_is_refused_with_the_form_to_use(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 25\.00 USD"):
        Money.parse(text)


def test_another_currency_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="EUR is not supported"):
        Money.parse("25.00 EUR")


def test_a_float_never_becomes_money() -> None:
    with pytest.raises(TypeError, match="not from float"):
        Money(0.1)  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize(
    ("amount", "micro"), [("0.0000005", 0), ("0.0000015", 2), ("0.0000025", 2), ("1.23", 1_230_000), ("-0.0000015", -2)]
)
def test_rounding_to_the_ledger_is_half_even(amount: str, micro: int) -> None:
    assert Money(Decimal(amount)).micro == micro


@given(micros)
def test_micro_amounts_survive_the_way_out_and_back(micro: int) -> None:
    assert Money.from_micro(micro).micro == micro


@given(micros, micros)
def test_adding_and_taking_away_is_exact(left: int, right: int) -> None:
    total = Money.from_micro(left) + Money.from_micro(right)

    assert (total - Money.from_micro(right)).micro == left


@pytest.mark.parametrize(
    ("amount", "words"), [("24000", "24,000.00"), ("0.0005", "0.0005"), ("2.5", "2.50"), ("0.0000001", "0.00")]
)
def test_people_read_two_to_six_decimals(amount: str, words: str) -> None:
    assert plain(Decimal(amount)) == words


@pytest.mark.parametrize(("amount", "text"), [("24000", "24000.00"), ("1E-9", "0.000000001"), ("2.50", "2.50")])
def test_programs_read_every_decimal(amount: str, text: str) -> None:
    assert exact(Decimal(amount)) == text
