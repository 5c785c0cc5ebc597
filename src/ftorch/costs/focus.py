"""Spend as a FOCUS dataset (FinOps Open Cost and Usage Specification), versions 1.0 and 1.2.

A row is what stands of one line of a bill, or of our own charges for a run while no bill covers them. How tokens are
mapped, and what a row of a closed month becomes, is told in docs/reference/focus.md.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import IO

from ftorch.core.clock import rfc3339
from ftorch.core.errors import UsageError
from ftorch.core.money import USD, Money, exact
from ftorch.costs.items import EntryKind
from ftorch.costs.months import Month
from ftorch.costs.report import JobFacts, Scope, facts_of
from ftorch.store import LedgerRow, Transaction, bill_sql
from ftorch.store.rows import columns, to_row

VERSIONS = ("1.0", "1.2")
_CATEGORIES: Mapping[str, str] = {
    EntryKind.PROVISIONAL: "Usage",
    EntryKind.BILLED: "Usage",
    EntryKind.ADJUSTED: "Adjustment",
    EntryKind.CREDIT: "Credit",
    EntryKind.TAX: "Tax",
}
_UNITS: Mapping[str, tuple[str, str, Decimal]] = {
    "token": ("Tokens", "1000000 Tokens", Decimal(1_000_000)),
    "second": ("Seconds", "Seconds", Decimal(1)),
    "s": ("Seconds", "Seconds", Decimal(1)),
    "minute": ("Minutes", "Minutes", Decimal(1)),
    "hour": ("Hours", "Hours", Decimal(1)),
    "call": ("Calls", "Calls", Decimal(1)),
}
"""Our unit -> what is consumed, what is priced, and how many of the first make one of the second."""
_TINY = Decimal("0.000000000001")


@dataclass(frozen=True, slots=True)
class _Charge:
    """One row to be, with all that its columns are made of."""

    entry: LedgerRow
    amount: Decimal
    list_amount: Decimal
    job: JobFacts | None

    @property
    def month(self) -> Month:
        return Month.of(self.entry.counted_at)

    @property
    def category(self) -> str:
        return _CATEGORIES[self.entry.kind]

    @property
    def is_priced(self) -> bool:
        """Usage of this period: it has a quantity, a unit and a price. A correction is a difference and has none."""
        return self.category == "Usage" and self.entry.corrects is None

    @property
    def quantity(self) -> Decimal | None:
        return self.entry.quantity if self.is_priced else None

    @property
    def list_price(self) -> Decimal | None:
        """Per unit of price, never below nothing: what was given back has a quantity below nothing."""
        if not self.is_priced:
            return None
        if self._unit_price is None:
            return abs(self.list_amount)
        return _tidy(self._unit_price * self._per_price_unit)

    @property
    def priced_quantity(self) -> Decimal | None:
        """A line that names no unit price is priced as one unit of itself."""
        if not self.is_priced:
            return None
        if self._unit_price is None:
            return Decimal(-1 if self.list_amount < 0 else 1)
        return self.entry.quantity / self._per_price_unit

    @property
    def contracted_price(self) -> Decimal | None:
        if self.list_price is None or not self.priced_quantity:
            return None
        return self.list_price if self.amount == self.list_amount else _tidy(self.amount / self.priced_quantity)

    @property
    def price_unit(self) -> str | None:
        if not self.is_priced:
            return None
        return "Units" if self._unit_price is None else self._units[1]

    @property
    def consumed_unit(self) -> str | None:
        return self._units[0] if self.is_priced else None

    @property
    def sku(self) -> str | None:
        return f"{self.entry.provider}/{self.entry.unit}" if self.category == "Usage" else None

    @property
    def tags(self) -> str:
        labels = self.job.labels if self.job else json.loads(self.entry.labels or "{}")
        return json.dumps(dict(labels), sort_keys=True)

    @property
    def _unit_price(self) -> Decimal | None:
        return self.entry.unit_price if self.entry.quantity else None

    @property
    def _units(self) -> tuple[str, str, Decimal]:
        name = self.entry.unit.capitalize()
        return _UNITS.get(self.entry.unit, (f"{name}s", f"{name}s", Decimal(1)))

    @property
    def _per_price_unit(self) -> Decimal:
        return self._units[2]


_Value = str | Decimal | None
_Column = Callable[[_Charge], _Value]


def _nothing(_charge: _Charge) -> None:
    return None


_V1_0: Mapping[str, _Column] = {
    "AvailabilityZone": _nothing,
    "BilledCost": lambda c: c.amount,
    "BillingAccountId": lambda c: c.entry.account,
    "BillingAccountName": lambda c: c.entry.account,
    "BillingCurrency": lambda _: USD,
    "BillingPeriodEnd": lambda c: rfc3339(c.month.end),
    "BillingPeriodStart": lambda c: rfc3339(c.month.start),
    "ChargeCategory": lambda c: c.category,
    "ChargeClass": lambda c: "Correction" if c.entry.corrects else None,
    "ChargeDescription": lambda c: c.entry.description or None,
    "ChargeFrequency": lambda c: "Usage-Based" if c.category == "Usage" else "One-Time",
    "ChargePeriodEnd": lambda c: rfc3339(max(c.entry.period_end, c.entry.period_start)),
    "ChargePeriodStart": lambda c: rfc3339(c.entry.period_start),
    "CommitmentDiscountCategory": _nothing,
    "CommitmentDiscountId": _nothing,
    "CommitmentDiscountName": _nothing,
    "CommitmentDiscountStatus": _nothing,
    "CommitmentDiscountType": _nothing,
    "ConsumedQuantity": lambda c: c.quantity,
    "ConsumedUnit": lambda c: c.consumed_unit,
    "ContractedCost": lambda c: c.amount,
    "ContractedUnitPrice": lambda c: c.contracted_price,
    "EffectiveCost": lambda c: c.amount,
    "InvoiceIssuerName": lambda c: c.entry.provider,
    "ListCost": lambda c: c.list_amount,
    "ListUnitPrice": lambda c: c.list_price,
    "PricingCategory": lambda c: "Standard" if c.is_priced else None,
    "PricingQuantity": lambda c: c.priced_quantity,
    "PricingUnit": lambda c: c.price_unit,
    "ProviderName": lambda c: c.entry.provider,
    "PublisherName": lambda c: c.entry.provider,
    "RegionId": _nothing,
    "RegionName": _nothing,
    "ResourceId": lambda c: c.entry.run_key,
    "ResourceName": lambda c: c.job.name if c.job else None,
    "ResourceType": lambda c: "Training run" if c.entry.run_key else None,
    "ServiceCategory": lambda _: "AI and Machine Learning",
    "ServiceName": lambda c: f"{c.entry.provider} fine-tuning",
    "SkuId": lambda c: c.sku,
    "SkuPriceId": lambda c: c.sku,
    "SubAccountId": _nothing,
    "SubAccountName": _nothing,
    "Tags": lambda c: c.tags,
}
_SINCE_1_1: Mapping[str, _Column] = {
    "CapacityReservationId": _nothing,
    "CapacityReservationStatus": _nothing,
    "CommitmentDiscountQuantity": _nothing,
    "CommitmentDiscountUnit": _nothing,
    "ServiceSubcategory": lambda _: "Machine Learning",
    "SkuMeter": lambda c: "Fine-tuning" if c.sku else None,
    "SkuPriceDetails": _nothing,
}
_SINCE_1_2: Mapping[str, _Column] = {
    "BillingAccountType": lambda _: "Account",
    "InvoiceId": _nothing,
    "PricingCurrency": lambda _: USD,
    "PricingCurrencyContractedUnitPrice": lambda c: c.contracted_price,
    "PricingCurrencyEffectiveCost": lambda c: c.amount,
    "PricingCurrencyListUnitPrice": lambda c: c.list_price,
    "SubAccountType": _nothing,
}
_OURS: Mapping[str, _Column] = {
    "x_JobId": lambda c: c.entry.job_id,
    "x_RunKey": lambda c: c.entry.run_key,
    "x_Source": lambda c: c.entry.source,
    "x_Status": lambda c: c.entry.kind,
    "x_CorrectsMonth": lambda c: c.entry.corrects,
}
_FOR_VALIDATOR: Mapping[str, _Column] = {
    "ChargeType": lambda c: c.category,
    "InvoiceIssuer": lambda c: c.entry.provider,
    "Provider": lambda c: c.entry.provider,
    "Publisher": lambda c: c.entry.provider,
    "ResourceID": lambda c: c.entry.run_key,
}
"""Columns of the specification's drafts that the public validator 1.0.0 still asks for."""


def focus_columns(version: str, *, for_validator: bool = False) -> Mapping[str, _Column]:
    """The columns of a version in their order, ours behind them. Raises UsageError for a version that is not known."""
    if version not in VERSIONS:
        raise UsageError(f"FOCUS {version} is not supported", hint=f"one of: {', '.join(VERSIONS)}")
    focus = dict(sorted((_V1_0 if version == "1.0" else {**_V1_0, **_SINCE_1_1, **_SINCE_1_2}).items()))
    return {**focus, **_OURS, **(_FOR_VALIDATOR if for_validator else {})}


def focus_rows(
    tx: Transaction, scope: Scope, *, version: str, for_validator: bool = False
) -> Iterator[Mapping[str, str]]:
    """Every row of the dataset, by time, made as it is asked for. Null is an empty text."""
    wanted = focus_columns(version, for_validator=for_validator)
    jobs = facts_of(tx)
    return ({name: _text(column(charge)) for name, column in wanted.items()} for charge in _charges(tx, scope, jobs))


def write_csv(stream: IO[str], version: str, rows: Iterable[Mapping[str, str]], *, for_validator: bool = False) -> None:
    """The dataset as a CSV file with its heading."""
    writer = csv.DictWriter(stream, list(focus_columns(version, for_validator=for_validator)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _charges(tx: Transaction, scope: Scope, jobs: Mapping[str, JobFacts]) -> Iterator[_Charge]:
    width = len(columns(LedgerRow))
    for row in tx.each(bill_sql.STANDING, **scope.parameters):
        entry = to_row(LedgerRow, row[:width])
        amount, listed = (Money.from_micro(int(micro)).amount for micro in row[width:])
        is_spend = entry.kind not in (EntryKind.CREDIT, EntryKind.TAX)
        yield _Charge(entry, amount, listed if is_spend else amount, jobs.get(entry.job_id or ""))


def _tidy(price: Decimal) -> Decimal:
    """A unit price that was divided has no last digit of its own."""
    return price if price == price.quantize(_TINY) else price.quantize(_TINY, rounding=ROUND_HALF_EVEN)


def _text(value: _Value) -> str:
    if isinstance(value, Decimal):
        return exact(value)
    return value or ""
