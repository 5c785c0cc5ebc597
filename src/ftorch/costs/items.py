"""The values that money is talked about in: windows of time, rows of a bill, quotes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ftorch.core.money import Money
from ftorch.store import sql


class SpendSource(StrEnum):
    """Where an amount comes from. Every amount on screen names it."""

    BILLING_API = "billing_api"
    """The provider's bill."""
    INVOICE = "invoice"
    """The provider's bill, which a person brought as a file."""
    RUN_RECORD = "run_record"
    """A price that the provider keeps with the run itself."""
    MEASURED_TIME = "measured_time"
    """Time that we measured, at the provider's price."""
    DECLARED = "declared"
    """Time that we measured, at a rate that the user declared in `ftorch.toml`."""
    NONE = "none"
    """Nobody tells: the amount is unknown, never 0."""


class EntryKind(StrEnum):
    """What a ledger entry is. An estimate never is one. `sql.SPEND_KINDS` are those whose sum is spend."""

    PROVISIONAL = "provisional"
    BILLED = "billed"
    ADJUSTED = "adjusted"
    TAX = "tax"
    """Outside spend."""
    CREDIT = "credit"
    """Beside spend: shown, not subtracted."""


BILL_SOURCES = (SpendSource.BILLING_API, SpendSource.INVOICE)
"""A bill is the last word: what one of these says about a run takes the place of all that we had charged for it."""


class Place(StrEnum):
    """Where a line of a bill went."""

    RUN = "run"
    """A run of ours, found by its key or remote id, or by a person's word."""
    ASSIGNED = "assigned"
    """Ours by a person's word, under labels instead of a job."""
    OUTSIDE = "outside"
    """Not ours: inference, colleagues, another installation, fees; credits and tax of the whole account."""
    UNEXPLAINED = "unexplained"
    """It carries our mark, and no row answers for it."""


class Scope(StrEnum):
    """What an amount is the price of. A line of a bill takes the place of charges of its own scope alone."""

    RUN = "run"
    """All that the run cost, but for what is priced beside it."""
    PLATFORM_FEE = "platform_fee"
    """The provider's fee, where the machines are on another bill: that of the user's own cloud."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, the end not included."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a window cannot end at {self.end} before it starts at {self.start}")

    @property
    def seconds(self) -> Decimal:
        span = self.end - self.start
        return Decimal(span.days * 86_400 + span.seconds) + Decimal(span.microseconds).scaleb(-6)


@dataclass(frozen=True, slots=True)
class LineItem:
    """One row of a bill, or what we put in its place.

    `source_ref` is stable: reading the same row again gives the same reference. A changed amount under the same
    reference, with a later `as_of`, supersedes the earlier one.
    """

    source: SpendSource
    source_ref: str
    kind: EntryKind
    amount: Money
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    """Exact, in USD per `unit`."""
    period: Window
    as_of: datetime
    description: str
    run_key: str | None = None
    between: tuple[Money, Money] | None = None
    """What a derived amount may be at least and at most; the description says it in words."""
    remote_id: str | None = None
    """The provider's own id of the run, where the row names that instead of our key."""
    scope: Scope = Scope.RUN

    @property
    def list_amount(self) -> Money:
        """At the unit price, before discounts; the amount where there is none. Nothing for credit and tax."""
        if self.kind not in sql.SPEND_KINDS:
            return Money(Decimal(0), self.amount.currency)
        if self.unit_price is None or not self.quantity:
            return self.amount
        listed = Money(self.unit_price * self.quantity, self.amount.currency)
        # A unit price is itself rounded: the last digit is no discount.
        return self.amount if abs(listed.micro - self.amount.micro) <= 1 else listed


@dataclass(frozen=True, slots=True)
class Quote:
    """The provider's own price for a plan, before it starts."""

    amount: Money
    as_of: datetime
    source: str


def time_charge(rate_per_hour: Decimal, period: Window) -> Money:
    """What a machine costs for a window: rate x seconds / 3600, exact (the ledger rounds, once)."""
    return Money(rate_per_hour * period.seconds / 3600)


def time_item(
    source: SpendSource,
    source_ref: str,
    rate_per_hour: Decimal,
    period: Window,
    description: str,
    *,
    run_key: str | None = None,
) -> LineItem:
    """Time at a rate in USD per hour, as it is known at the period's end."""
    return LineItem(
        source=source,
        source_ref=source_ref,
        kind=EntryKind.PROVISIONAL,
        amount=time_charge(rate_per_hour, period),
        quantity=period.seconds,
        unit="second",
        unit_price=rate_per_hour / 3600,
        period=period,
        as_of=period.end,
        description=description,
        run_key=run_key,
    )
