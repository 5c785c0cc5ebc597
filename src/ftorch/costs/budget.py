"""Budgets before money moves: what a run may cost at most, and for how long it may therefore run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.estimate import Estimate
from ftorch.manifest.plan import Plan


@dataclass(frozen=True, slots=True)
class Bound:
    """The worst case of one run: its deadline, and the hold that covers it."""

    max_duration_s: int | None
    hold: Money


def check(plan: Plan, estimate: Estimate) -> None:
    """Refuse before anything is sent: an estimate above the limit, or a limit that nothing can enforce."""
    if plan.budget is None:
        return
    limit = plan.budget.limit
    if estimate.amount is None:
        name = plan.providers[0]
        raise BudgetError(
            f"budget.limit is {limit}, but nobody names a price for {name}, so it cannot be held",
            hint=f'declare one in ftorch.toml: [{name}] rate = "0.50 USD" (per hour; 0.00 USD when it is free to you), '
            "or leave budget out",
        )
    if estimate.amount > limit:
        raise BudgetError(
            f"the estimate, {estimate.amount}, is above budget.limit, {limit}",
            hint="lower epochs, choose a smaller base model, or raise budget.limit",
        )


def bound(plan: Plan, estimate: Estimate, *, rate: Decimal | None, committed: Money) -> Bound:
    """How long the next run may take and what it may cost.

    `committed` is what the job has spent and holds already. Raises BudgetError when nothing is left.
    """
    wanted = plan.resources.max_duration
    wanted_s = int(wanted.total_seconds()) if wanted else None
    if plan.budget is None:
        return Bound(wanted_s, _worst(wanted_s, rate, estimate))
    left = plan.budget.limit - committed
    affordable_s = seconds_for(left, rate)
    if left.amount <= 0 or affordable_s == 0:
        raise BudgetError(
            f"budget.limit, {plan.budget.limit}, is used up: {committed} is spent or held",
            hint="raise budget.limit in the manifest, then run `ftorch submit MANIFEST --again`",
        )
    allowed = [seconds for seconds in (wanted_s, affordable_s) if seconds is not None]
    max_duration_s = min(allowed, default=None)
    return Bound(max_duration_s, min(_worst(max_duration_s, rate, estimate), left))


def seconds_for(left: Money, rate: Decimal | None) -> int | None:
    """How long a machine at this rate per hour may run; None where it costs nothing, or nobody knows what."""
    if not rate:
        return None
    return int((left.amount * 3600 / rate).to_integral_value(ROUND_FLOOR))


def _worst(max_duration_s: int | None, rate: Decimal | None, estimate: Estimate) -> Money:
    if rate is not None and max_duration_s is not None:
        return Money(rate * max_duration_s / 3600)
    return estimate.amount_high or Money(Decimal(0))
