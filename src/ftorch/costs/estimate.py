"""What a plan will take, before anything is sent: time with an interval, and money where somebody named a price.

An estimate is ours and is never called cost or spend.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from ftorch.core.money import Money
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Dpo

# Forward and backward through frozen weights: 2 + 2 operations per weight and token, plus the adapter's own share.
# DPO runs policy and reference over both answers: measured 2.5-3.3 times SFT per example, both answers counted.
_OPERATIONS_PER_WEIGHT = Decimal("4.4")
_DPO_FACTOR = Decimal("1.5")

# Measured on a 2-core machine with SmolLM2-135M in bfloat16: 50 steps, 16,577 tokens, 145 s of an idle machine.
_OPERATIONS_PER_CORE_SECOND = Decimal(33_000_000_000)
_START_S = Decimal(15)
_SPREAD = (Decimal("0.4"), Decimal("3"))


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """One summand: what it counts, how much of it, at which price."""

    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    amount: Money | None
    source: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds and money with their interval; `amount` is None when nobody named a price."""

    seconds: int
    seconds_low: int
    seconds_high: int
    amount: Money | None
    amount_low: Money | None
    amount_high: Money | None
    lines: tuple[EstimateLine, ...]
    basis: str
    """For people: what the numbers rest on."""


def trained_tokens(plan: Plan) -> int:
    """Tokens that the whole training reads: one epoch's tokens x epochs, or fewer with `max_steps`."""
    method, rows = plan.method, plan.dataset.train_rows
    whole = Decimal(plan.dataset.train_tokens) * Decimal(str(method.epochs))
    if method.max_steps is None:
        return ceil(whole)
    share = Decimal(method.max_steps * method.batch_size) / Decimal(max(rows, 1))
    return ceil(min(whole, Decimal(plan.dataset.train_tokens) * share))


def for_machine_here(plan: Plan, *, cores: int, rate: Decimal | None) -> Estimate:
    """Training on this machine's CPU: operations over measured speed. Wide, and said to be."""
    weights = plan.parameters or 0
    factor = _DPO_FACTOR if isinstance(plan.method, Dpo) else Decimal(1)
    tokens = trained_tokens(plan)
    work = _OPERATIONS_PER_WEIGHT * weights * tokens * factor / (_OPERATIONS_PER_CORE_SECOND * max(1, min(cores, 4)))
    low, high = (ceil((_START_S + work) * spread) for spread in _SPREAD)
    basis = "training operations / measured CPU speed"
    if not weights:
        basis = "start-up only: the size of the base model is not in the catalogue"
    return _by_time(ceil(_START_S + work), low, high, rate, basis)


def _by_time(seconds: int, low: int, high: int, rate: Decimal | None, basis: str) -> Estimate:
    source = "declared rate in ftorch.toml" if rate is not None else "no rate is declared for local in ftorch.toml"
    line = EstimateLine("machine time", Decimal(seconds), "second", _per_second(rate), _cost(seconds, rate), source)
    return Estimate(seconds, low, high, _cost(seconds, rate), _cost(low, rate), _cost(high, rate), (line,), basis)


def _per_second(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else rate / 3600


def _cost(seconds: int, rate: Decimal | None) -> Money | None:
    return None if rate is None else Money(rate * seconds / 3600)
