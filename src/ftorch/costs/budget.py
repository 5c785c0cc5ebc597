"""Budgets before money moves: what a run may cost at most, and for how long it may therefore run.

Limits form a tree: the job's own, those of its labels, and that of the installation. The tightest one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Literal, assert_never

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.estimate import Estimate
from ftorch.manifest.plan import Plan

MAX_DURATION = "resources.max_duration"
JOB_LIMIT = "budget.limit"
_RAISE = {
    JOB_LIMIT: "raise budget.limit in the manifest, then run `ftorch submit MANIFEST --again`",
}
_DECLARE = (
    'declare one in ftorch.toml: [{name}] rate = "0.50 USD" (per hour; 0.00 USD when it is free to you), '
    "or leave budget out"
)
_UNLISTED = "choose a base model of the catalogue, or leave budget out"
_WHEN_FREE = "it starts when other runs have ended and cost less than was held for them"
_RAISE_RULE = "raise its limit in ftorch.toml or wait for the next period, then run `ftorch submit MANIFEST --again`"

Period = Literal["day", "week", "month", "year"]


class HeldError(BudgetError):
    """Nothing is left now, but part of the limit is only held for other runs and may come back."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the tree, with what is gone of it."""

    name: str
    """`budget.limit`, or the rule of ftorch.toml in words."""
    limit: Money
    spent: Money
    held: Money
    kept_in: str = "ftorch.toml"
    """Where it is raised."""

    @property
    def left(self) -> Money:
        return self.limit - self.spent - self.held


@dataclass(frozen=True, slots=True)
class Bound:
    """The worst case of one run: its deadline, what set it, and the hold that covers it."""

    max_duration_s: int | None
    hold: Money
    bounded_by: str | None


def check(plan: Plan, estimate: Estimate, limits: Sequence[Limit] = ()) -> None:
    """Refuse before anything is sent: an estimate above a limit, or a limit that nothing can enforce.

    `limits` are those beside the job's own.
    """
    own = [Limit(JOB_LIMIT, plan.budget.limit, _NOTHING, _NOTHING)] if plan.budget else []
    for limit in (*own, *limits):
        _check_one(plan, estimate, limit)


def bound(
    plan: Plan,
    estimate: Estimate,
    *,
    rate: Decimal | None,
    limits: Sequence[Limit],
    overhead_s: float = 0.0,
    holds_all: bool = False,
) -> Bound:
    """How long the next run may take and what it may cost.

    `overhead_s` is billed too and not trained in. `holds_all`: its machine may cost all that is left of the job's own
    limit, however short the training. Raises BudgetError when nothing is left, HeldError when other runs
    hold it.
    """
    wanted = plan.resources.max_duration
    wanted_s = int(wanted.total_seconds()) if wanted else None
    if not limits:
        return Bound(wanted_s, _worst(wanted_s, rate, estimate, overhead_s), MAX_DURATION if wanted_s else None)
    tightest = min(limits, key=lambda limit: limit.left.amount)
    affordable_s = seconds_for(tightest.left, rate, overhead_s)
    if rate is None and estimate.amount is not None and estimate.amount > tightest.left > _NOTHING:
        # No deadline can bound what is billed by something else than time.
        raise _too_dear(tightest, estimate)
    if tightest.left.amount <= 0 or (affordable_s is not None and affordable_s <= 0):
        raise _used_up(tightest, rate, overhead_s)
    is_own = wanted_s is not None and (affordable_s is None or wanted_s <= affordable_s)
    max_duration_s = wanted_s if is_own else affordable_s
    own = next((limit.left for limit in limits if limit.name == JOB_LIMIT), _NOTHING)
    worst = _worst(max_duration_s, rate, estimate, overhead_s)
    hold = min(max(worst, own) if holds_all else worst, tightest.left)
    return Bound(max_duration_s, hold, MAX_DURATION if is_own else tightest.name)


def seconds_for(left: Money, rate: Decimal | None, overhead_s: float = 0.0) -> int | None:
    """How long a machine at this rate per hour may train; None where it costs nothing, or nobody knows what."""
    if not rate:
        return None
    paid_s = left.amount * 3600 / rate
    return int((paid_s - Decimal(str(overhead_s))).to_integral_value(ROUND_FLOOR))


def period_start(period: Period, now: datetime) -> datetime:
    """The beginning of the calendar day, week (Monday), month or year that holds `now`, in UTC."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case unreachable:
            assert_never(unreachable)


_NOTHING = Money(Decimal(0))


def _check_one(plan: Plan, estimate: Estimate, limit: Limit) -> None:
    if estimate.amount is None:
        name = plan.providers[0]
        raise BudgetError(
            f"{limit.name} is {limit.limit}, but nobody names a price for {name}, so it cannot be held",
            hint=_UNLISTED if estimate.lines[0].unit == "token" else _DECLARE.format(name=name),
        )
    if estimate.amount <= limit.limit - limit.spent - limit.held:
        return
    if limit.name == JOB_LIMIT:
        raise BudgetError(
            f"the estimate, {estimate.amount}, is above budget.limit, {limit.limit}",
            hint="lower epochs, choose a smaller base model, or raise budget.limit",
        )
    raise BudgetError(
        f"the estimate, {estimate.amount}, is above what is left of the {limit.name}, {limit.limit}: "
        f"{limit.spent} is spent and {limit.held} is held",
        hint=f"raise its limit in {limit.kept_in}, cancel what is not needed, or wait for the next period",
    )


def _too_dear(limit: Limit, estimate: Estimate) -> BudgetError:
    words = (
        f"the run costs {estimate.amount} ({estimate.basis}), above what is left of {limit.name}, {limit.limit}: "
        f"{limit.spent} is spent, {limit.held} is held"
    )
    if estimate.amount is not None and estimate.amount <= limit.limit - limit.spent:
        return HeldError(words, hint=_WHEN_FREE)
    return BudgetError(words, hint=_RAISE.get(limit.name, _RAISE_RULE))


def _used_up(limit: Limit, rate: Decimal | None, overhead_s: float) -> BudgetError:
    words = f"{limit.name}, {limit.limit}, is used up: {limit.spent} is spent, {limit.held} is held"
    without_holds = seconds_for(limit.limit - limit.spent, rate, overhead_s)
    if limit.held.amount > 0 and limit.spent < limit.limit and (without_holds is None or without_holds > 0):
        return HeldError(words, hint=_WHEN_FREE)
    return BudgetError(words, hint=_RAISE.get(limit.name, _RAISE_RULE))


def _worst(max_duration_s: int | None, rate: Decimal | None, estimate: Estimate, overhead_s: float) -> Money:
    if rate is not None and max_duration_s is not None:
        return Money(rate * (max_duration_s + Decimal(str(overhead_s))) / 3600)
    return estimate.amount_high or _NOTHING
