"""What a plan would do and cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime

from ftorch.core.errors import CredentialsError
from ftorch.costs import budget
from ftorch.costs.book.listed import STALE_AFTER_DAYS, is_stale
from ftorch.costs.estimate import Estimate
from ftorch.evals.power import rows_for_floor, smallest_difference
from ftorch.jobs.admit import difference, stands_for
from ftorch.jobs.allowance import estimate, rules, with_own_price
from ftorch.jobs.learning import corrected
from ftorch.jobs.plan import Picked, Resolved
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement, PriceListed, Provider, Remarks
from ftorch.providers.registry import entries, provider_class
from ftorch.store import JobRow, Store, Transaction, schedule_sql, sql
from ftorch.store.schedule_rows import ScheduleRow

_DISCORDANCE = 0.15
"""Share of rows that only one of two models gets right, before anybody has seen them answer."""
_HOPED = 0.05
"""How far above its floor a model is hoped to be."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """A manifest resolved: what would be done, and our estimate. Nothing was sent."""

    plan: Plan
    plan_hash: str
    estimate: Estimate
    provider: str
    price_source: str
    live_check: str
    standing_job: str | None
    """The open or succeeded job that this plan already has; submitting it again would print this one."""
    changes: Sequence[tuple[str, str, str]]
    """What differs from the newest job of the same name: (key, then, now)."""
    sample_size: Sequence[str]
    """What the held-out rows can and cannot show, before a cent is spent on it."""
    warnings: Sequence[str]
    picked: Picked | None
    """What `cheapest` or `fastest` chose, and why; None where the manifest names its providers."""
    resolved: Resolved = field(repr=False)
    """What `submit` takes, so that the data is not checked twice."""


def preview(resolved: Resolved, store: Store | None, credentials: Mapping[str, str], now: datetime) -> PlanView:
    """The plan with its estimate. Raises BudgetError when the estimate is above the limit."""
    plan = resolved.plan
    name = plan.providers[0]
    provider = provider_class(name)
    placement, unset = _placement(provider, plan, credentials)
    reader = store.read() if store else None
    placed = with_own_price(plan, name, placement)
    computed = corrected(reader, plan, name, estimate(plan, placed, provider.capabilities.billed_by))
    budget.check(plan, computed, rules(store.read(), plan, now) if store else ())
    standing = stands_for(store.read().many(JobRow, sql.JOBS_BY_PLAN, plan_hash=plan.hash)) if store else None
    return PlanView(
        plan=plan,
        plan_hash=plan.hash,
        estimate=computed,
        provider=name,
        price_source=provider.capabilities.spend_source.value,
        live_check=entries()[name].live_check,
        standing_job=standing.id if standing else None,
        changes=difference(store, plan) if store else [],
        sample_size=sample_size(plan),
        warnings=[
            *map(str, resolved.prepared.report.warnings),
            *unscheduled(plan, reader),
            *unset,
            *_remarks(provider, plan, placement),
            *stale(computed.price_date, now.date()),
        ],
        picked=resolved.picked,
        resolved=resolved,
    )


def _placement(provider: type[Provider], plan: Plan, credentials: Mapping[str, str]) -> tuple[Placement, Sequence[str]]:
    """Where the run would be placed first, and what is missing to submit it; a listed price needs no credentials."""
    try:
        opened = provider.from_env(credentials)
    except CredentialsError as error:
        if not issubclass(provider, PriceListed):
            raise
        return provider.listed(plan)[0], [error.message]
    with closing(opened):
        return (provider.listed(plan) if issubclass(provider, PriceListed) else opened.placements(plan))[0], ()


def _remarks(provider: type[Provider], plan: Plan, placement: Placement) -> Sequence[str]:
    return provider.remarks(plan, placement) if issubclass(provider, Remarks) else ()


def stale(read: date | None, today: date) -> list[str]:
    """A warning where a price is too old to be relied on."""
    if read is None or not is_stale(read, today):
        return []
    return [
        f"the price is STALE: its source was read on {read}, {(today - read).days} days ago (more than "
        f"{STALE_AFTER_DAYS}); `[prices]` in ftorch.toml takes a newer one"
    ]


def sample_size(plan: Plan) -> list[str]:
    """In words, what the gate can show on this many held-out rows at 80 % power; empty without a gate."""
    gate = plan.eval.gate if plan.eval else None
    rows = plan.dataset.held_out_rows
    if gate is None or rows == 0:
        return []
    words = []
    if gate.at_least is not None and 0 < gate.at_least < 1:
        hoped = min(gate.at_least + _HOPED, (1 + gate.at_least) / 2)
        needed = rows_for_floor(gate.at_least, hoped, confidence=gate.confidence)
        words.append(
            f"{gate.primary} at least {gate.at_least}: a model whose true figure is {hoped:.3g} needs {needed} "
            f"held-out rows to show it; there are {rows}"
        )
    if gate.beats is not None:
        shown = smallest_difference(rows, _DISCORDANCE, confidence=gate.confidence)
        words.append(
            f"{rows} held-out rows show a difference from {gate.beats} of {shown:.2g} or more, when {_DISCORDANCE:.0%} "
            "of the rows are answered right by only one of the two"
        )
    return words


def unscheduled(plan: Plan, reader: Transaction | None) -> list[str]:
    """A hint where the manifest has a schedule that nobody has added: a submit trains once."""
    if plan.schedule is None:
        return []
    if reader and reader.one(ScheduleRow, schedule_sql.SCHEDULE_NAMED, name=plan.name):
        return []
    return ["its schedule does not count yet: `ftorch schedule add MANIFEST` lets it"]
