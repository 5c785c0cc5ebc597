"""The price book: every price has a source and a date, the user's own wins, old ones are marked."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.money import Money
from ftorch.costs.book.gpus import find_gpu, gpus, is_asked
from ftorch.costs.book.listed import STALE_AFTER_DAYS, ListedPrice, is_stale, keep, price_book, shipped
from ftorch.manifest.prices import OwnPrice

TODAY = date(2026, 11, 27)


def own(text: str, unit: str = "hour", **changes: object) -> OwnPrice:
    values = {"price": f"{text} USD", "unit": unit, "source": "contract", "date": date(2026, 11, 1)}
    return OwnPrice.model_validate({**values, **changes})


def listed(provider: str, rate: str, read: date = TODAY) -> ListedPrice:
    return ListedPrice(provider, "x1", "H100", 1, Decimal(rate), "catalogue", read, has_capacity=True)


@pytest.mark.parametrize("price", shipped(), ids=lambda price: f"{price.provider}-{price.name}")
def test_a_shipped_price_says_where_it_comes_from(price: ListedPrice) -> None:
    assert price.source
    assert date(2026, 1, 1) < price.read <= TODAY
    assert price.rate > 0
    assert price.gpu in gpus()


def test_a_modal_hour_has_its_core_and_memory_in_it() -> None:
    h100 = next(one for one in price_book({}).of("modal") if one.name == "H100")

    assert h100.rate == (Decimal("0.001097") + Decimal("0.00003942") + 16 * Decimal("0.00000667")) * 3600


def test_machines_come_cheapest_first() -> None:
    rates = [one.rate for one in price_book({}).of("lambda")]

    assert rates == sorted(rates)
    assert rates[0] == Decimal("0.69")


def test_what_the_user_says_wins_and_names_itself() -> None:
    book = price_book({"modal": {"H100": own("0.0005", "second")}})

    [h100] = [one for one in book.of("modal") if one.name == "H100"]
    assert (h100.rate, h100.gpu) == (Decimal("1.8"), "H100")
    assert h100.words(TODAY) == "1.80 USD per hour (ftorch.toml: contract, 2026-11-01)"


def test_the_user_may_add_a_provider_that_no_list_has() -> None:
    book = price_book({"mine": {"big": own("2.00", gpu="H200", count=2)}})

    [big] = book.of("mine")
    assert (big.gpu, big.count, big.rate) == ("H200", 2, Decimal(2))
    assert "mine" in book.providers


def test_prices_of_tokens_are_no_machines() -> None:
    tokens = own("0.30", "million_tokens")

    assert price_book({"together": {"Qwen/Qwen3-8B": tokens}}).of("together") == []


def test_a_price_is_stale_after_ninety_days_and_not_before() -> None:
    read = date(2026, 8, 1)

    assert not is_stale(read, date(2026, 8, 1 + 30))
    assert not is_stale(read, date.fromordinal(read.toordinal() + STALE_AFTER_DAYS))
    assert is_stale(read, date.fromordinal(read.toordinal() + STALE_AFTER_DAYS + 1))


def test_a_stale_price_says_so_wherever_it_is_worded() -> None:
    assert "STALE: 210 days old" in listed("a", "1", date(2026, 5, 1)).words(TODAY)
    assert "STALE" not in listed("a", "1").words(TODAY)


def test_a_catalogue_takes_the_place_of_what_its_provider_said_before(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    keep(path, [listed("lambda", "1"), listed("acme", "9")], ["lambda", "acme"])

    keep(path, [listed("lambda", "2.50")], ["lambda"])

    book = price_book({}, path)
    assert [one.rate for one in book.of("acme")] == [Decimal(9)]
    [fresh] = [one for one in book.of("lambda") if one.name == "x1"]
    assert (fresh.rate, fresh.read, fresh.has_capacity) == (Decimal("2.50"), TODAY, True)


def test_the_user_wins_over_a_catalogue_too(tmp_path: Path) -> None:
    keep(tmp_path / "p.json", [listed("acme", "9")], ["acme"])

    [price] = price_book({"acme": {"x1": own("3.00")}}, tmp_path / "p.json").of("acme")

    assert Money(price.rate) == Money.parse("3.00 USD")


def test_a_gpu_is_found_in_any_letters() -> None:
    assert find_gpu("h100") == gpus()["H100"]
    assert find_gpu("Z1") is None
    assert find_gpu(None) is None


@pytest.mark.parametrize(
    ("name", "asked", "fits"),
    [
        ("A100-40GB", ("A100",), True),
        ("A100-80GB", ("a100-80gb",), True),
        ("A100-40GB", ("A100-80GB",), False),
        ("A10", ("A100",), False),
        ("A100-40GB", ("A10",), False),
        ("T4", (), True),
        (None, ("T4",), False),
    ],
)
def test_what_the_manifest_asks_for(name: str | None, asked: tuple[str, ...], fits: bool) -> None:
    assert is_asked(name, asked) is fits
