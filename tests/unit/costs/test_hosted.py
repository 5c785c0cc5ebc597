"""Prices of hosted models: the user's own first, then those that come with a package; nobody is asked."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from ftorch.core.errors import MissingExtraError, UsageError
from ftorch.core.money import Money
from ftorch.costs.hosted import model_price
from ftorch.manifest.prices import HOSTED, OwnPrice

TODAY = date(2026, 11, 27)


def test_a_known_model_has_its_price_with_the_version_of_the_list() -> None:
    found = model_price("gpt-4o-mini", {}, TODAY)

    assert (found.input, found.cached_input, found.output) == tuple(
        Money(Decimal(text)) for text in ("0.15", "0.075", "0.60")
    )
    assert found.source.startswith("genai-prices 0.")
    assert "2026-11-27" in found.source


def test_a_model_may_name_its_provider() -> None:
    assert model_price("anthropic/claude-sonnet-4-0", {}, TODAY).output == Money(Decimal(15))


def test_the_users_own_price_wins() -> None:
    own = OwnPrice(input=Money(Decimal(1)), output=Money(Decimal(2)), source="contract", date=date(2026, 11, 1))

    found = model_price("gpt-4o-mini", {HOSTED: {"gpt-4o-mini": own}}, TODAY)

    assert (found.input, found.cached_input, found.output) == (Money(Decimal(1)), Money(Decimal(1)), Money(Decimal(2)))
    assert (found.source, found.read) == ("ftorch.toml: contract", date(2026, 11, 1))


def test_a_call_costs_what_its_tokens_do() -> None:
    found = model_price("gpt-4o-mini", {}, TODAY)

    assert (
        found.cost(1000, 400, 100) == (600 * Decimal("0.15") + 400 * Decimal("0.075") + 100 * Decimal("0.60")) / 10**6
    )


def test_a_model_that_nobody_prices_is_named_with_what_to_write() -> None:
    with pytest.raises(UsageError, match="knows no model 'my-own'") as refused:
        model_price("my-own", {}, TODAY)

    assert refused.value.hint is not None
    assert '[prices.hosted."my-own"]' in refused.value.hint


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftorch.costs.hosted.find_spec", lambda _name: None)

    with pytest.raises(MissingExtraError) as refused:
        model_price("gpt-4o-mini", {}, TODAY)

    assert refused.value.extra == "prices"
