"""Prices with their date and source. One that cannot say where it comes from is no price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ftorch.core.money import Money

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
