"""Money: `Decimal` with a currency at the edges, integer micro-USD in the database, never a float.

Rates stay exact decimals; rounding happens once, half-even, where an amount becomes a ledger row (`micro`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Self

MICRO = Decimal(1_000_000)
_SMALLEST = Decimal("0.000001")
USD = "USD"

_TEXT = re.compile(r"^(?P<amount>[0-9]+(?:\.[0-9]+)?)\s*(?P<currency>[A-Z]{3})$")


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An exact amount. v1 knows one currency, and still always names it."""

    amount: Decimal
    currency: str = USD

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError(f"money is made from Decimal, not from {type(self.amount).__name__}")
        if not self.amount.is_finite():
            raise ValueError(f"{self.amount} is no amount of money")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `25.00 USD`. Raises ValueError with the form to use."""
        found = _TEXT.match(text.strip())
        if not found:
            raise ValueError(f"{text!r} is not an amount; write a number and its currency, such as 25.00 USD")
        if found["currency"] != USD:
            raise ValueError(f"{found['currency']} is not supported; version 1 keeps its books in USD")
        try:
            return cls(Decimal(found["amount"]))
        except InvalidOperation as error:
            raise ValueError(f"{text!r} is not an amount") from error

    @classmethod
    def from_micro(cls, micro: int) -> Self:
        return cls(Decimal(micro) / MICRO)

    @property
    def micro(self) -> int:
        """Millionths of the currency, rounded half-even: the ledger's unit."""
        return int((self.amount * MICRO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __mul__(self, factor: Decimal | int) -> Money:
        return Money(self.amount * factor, self.currency)

    @property
    def cents(self) -> Money:
        """Rounded to cents, for people: a forecast has no more digits."""
        return Money(self.amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN), self.currency)

    def __str__(self) -> str:
        return f"{plain(self.amount)} {self.currency}"

    def _same(self, other: Money) -> Decimal:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add")
        return other.amount


def plain(amount: Decimal) -> str:
    """The amount as people write it: at least two decimals, at most six, thousands separated."""
    rounded = amount.quantize(_SMALLEST, rounding=ROUND_HALF_EVEN)
    whole, _, part = f"{rounded:,f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def exact(amount: Decimal) -> str:
    """The amount as programs read it: no separators, no exponent, at least two decimals, nothing rounded away."""
    whole, _, part = f"{amount:f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"
