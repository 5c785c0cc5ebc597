"""What a plan means at Lambda, in sentences: how long its machine may cost, and what happens when nobody is there."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement
from ftorch.providers.lambda_cloud.capabilities import IDLE_S
from ftorch.providers.lambda_cloud.orders import DEFAULT_LIFE_S, has_switch, options


def remarks(plan: Plan, placement: Placement) -> Sequence[str]:
    """Until when the machine waits for its adapter and what that costs; the worst case without its switch."""
    rate = placement.rate
    if not rate:
        return ()
    if not has_switch(plan):
        return (_without_switch(rate),)
    hold_minutes = options(plan).get("hold_minutes")
    held = (_given_up(hold_minutes, rate),) if hold_minutes is not None else ()
    return (_longest(plan, rate), *held)


def _longest(plan: Plan, rate: Decimal) -> str:
    seconds, why = _life(plan, rate)
    return (
        f"the machine is kept until its adapter is home or {why}: {_hours(seconds)} at most, "
        f"{Money(rate * seconds / 3600)} at {rate} USD per hour, begun minutes and sales tax not counted; "
        "it ends itself then, also when this computer is off"
    )


def _life(plan: Plan, rate: Decimal) -> tuple[Decimal, str]:
    if plan.budget is not None and plan.budget.on_exceed != "notify":
        return plan.budget.limit.amount * 3600 / rate, "budget.limit is used up"
    wanted = plan.resources.max_duration
    if wanted is not None:
        return Decimal(int(wanted.total_seconds() + IDLE_S)), "resources.max_duration and an hour have passed"
    return Decimal(int(DEFAULT_LIFE_S)), "a day has passed, for neither budget nor resources.max_duration is given"


def _given_up(minutes: int, rate: Decimal) -> str:
    return (
        f"an adapter that nobody has fetched {minutes} min after its training is given up, hold_minutes says so: "
        f"{Money(rate * minutes / 60)} for waiting at most"
    )


def _without_switch(rate: Decimal) -> str:
    return (
        "dead_man is off: when this computer sleeps, loses its network or its disk, nothing ends the machine; "
        f"it then costs {Money(rate * 24)} a day, {Money(rate * 24 * 30)} a month, until a person ends it"
    )


def _hours(seconds: Decimal) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min"
