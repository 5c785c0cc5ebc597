"""Providers to compare: one bills tokens, one has a catalogue that is asked, one lacks what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import ClassVar, Self

import pytest

from ftorch.core.clock import Clock, ManualClock
from ftorch.core.errors import ProviderUnavailableError
from ftorch.core.money import Money
from ftorch.costs.book.listed import ListedPrice
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan
from ftorch.providers import registry
from ftorch.providers.base import BilledBy, Capabilities, Feature, Placement
from ftorch.providers.registry import Entry
from unit.jobs.cloud import Cloud, CloudProvider

READ = date(2026, 11, 1)
PRICE = TokenPrice(Decimal("0.48"), Money(Decimal(4)), "list", READ)


class Tokens(CloudProvider):
    """Bills trained tokens, from a list that it ships."""

    name: ClassVar[str] = "tokens"
    capabilities: ClassVar[Capabilities] = replace(
        CloudProvider.capabilities,
        billed_by=BilledBy.TOKEN,
        unsupported={Feature.DPO: "tokens trains no DPO"},
        altered=("batch_size counts packed rows",),
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        return cls(Cloud(ManualClock()))

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        return (Placement("tokens", None, token_price=PRICE),)

    def placements(self, plan: Plan) -> Sequence[Placement]:
        return self.listed(plan)


class Machines(CloudProvider):
    """Rents GPUs at prices that it must be asked for."""

    name: ClassVar[str] = "machines"
    is_down: ClassVar[bool] = False

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        return cls(Cloud(ManualClock()))

    def placements(self, plan: Plan) -> Sequence[Placement]:
        if self.is_down:
            raise ProviderUnavailableError("connection refused", provider=self.name, operation="placements")
        return (Placement("one-h100", Decimal("3.00"), gpu="H100"), Placement("odd", Decimal("0.30"), gpu="Z9"))

    def catalogue(self) -> Sequence[ListedPrice]:
        return [
            ListedPrice(self.name, "one-h100", "H100", 1, Decimal("3.10"), "its catalogue", READ, has_capacity=False)
        ]


def open_market(monkeypatch: pytest.MonkeyPatch, **providers: type[CloudProvider]) -> None:
    """Make these providers known, beside local."""
    for name, found in providers.items():
        monkeypatch.setitem(registry.OURS, name, Entry(f"{found.__module__}:{found.__name__}"))
