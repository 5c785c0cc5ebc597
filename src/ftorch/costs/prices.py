"""Prices of trained tokens with their date and source. One that cannot say where it comes from is no price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.manifest.plan import Plan

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What trained tokens cost at a provider that bills by them."""

    per_million: Decimal
    """USD for a million trained tokens."""
    minimum: Money
    """What a run costs at least."""
    source: str
    date: date
    """When the source was read."""
    validations: int = 0
    """How often a run reads the validation rows; their tokens are billed like trained ones."""

    def for_tokens(self, tokens: int) -> Money:
        """Exact; the ledger rounds, once."""
        return max(self.minimum, Money(self.per_million * tokens / _MILLION))

    @property
    def words(self) -> str:
        floor = f", at least {self.minimum}" if self.minimum.amount else ""
        return f"{self.per_million} USD per million tokens{floor} ({self.source}, {self.date})"


def with_own(plan: Plan, provider: str, listed: TokenPrice | None) -> TokenPrice | None:
    """What the user says in `[prices]` about this provider and base model, in place of what is listed."""
    own = plan.own_prices.get(provider, {}).get(plan.base_model.id)
    if own is None or own.price is None or own.unit != "million_tokens":
        return listed
    source = f"ftorch.toml: {own.source}"
    if listed is None:
        return TokenPrice(own.price.amount, own.minimum or Money(Decimal(0)), source, own.date)
    minimum = own.minimum or listed.minimum
    return replace(listed, per_million=own.price.amount, minimum=minimum, source=source, date=own.date)
