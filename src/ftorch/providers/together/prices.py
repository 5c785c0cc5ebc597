"""The price list that ships with ftorch: by all parameters of the base model, dated, and never seen on a live bill."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from ftorch.core.money import Money
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.catalogue import canonical_id
from ftorch.manifest.plan import Plan
from ftorch.providers.together.body import evaluations


def token_price(plan: Plan) -> TokenPrice | None:
    """What the plan's tokens cost; None for a base model whose size or price nobody listed."""
    entry = _entry(canonical_id(plan.base_model.id), plan.parameters)
    if entry is None:
        return None
    prices = _list()
    return TokenPrice(
        per_million=Decimal(entry[plan.method.type]),
        minimum=minimum(),
        source=prices["source"],
        date=prices["read"],
        validations=evaluations(plan),
    )


def minimum() -> Money:
    """What any job costs at least."""
    return Money(Decimal(_list()["minimum"]["usd"]))


def _entry(base_id: str, parameters: int | None) -> Mapping[str, Any] | None:
    for model in _list()["model"]:
        if model["id"] == base_id:
            return dict(model)
    tiers = _list()["tier"] if parameters else ()
    return next((tier for tier in tiers if parameters <= tier["up_to"]), None)


@cache
def _list() -> dict[str, Any]:
    text = (files("ftorch.providers.together") / "prices.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
