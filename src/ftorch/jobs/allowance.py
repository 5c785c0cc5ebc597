"""What a job's next run may cost: the limits it spends from, as the ledger and the holds have them now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from ftorch.core.money import Money
from ftorch.costs import budget, ledger
from ftorch.costs.book.gpus import find_gpu
from ftorch.costs.budget import JOB_LIMIT, Bound, Limit
from ftorch.costs.estimate import Estimate, for_gpu, for_machine_here, for_tokens, quoted, unpriced_tokens
from ftorch.costs.items import Quote
from ftorch.costs.prices import with_own
from ftorch.jobs.serial import quote_of
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BudgetRule
from ftorch.providers.base import BilledBy, Capabilities, Placement
from ftorch.store import JobRow, Transaction, sql


def estimate(plan: Plan, placement: Placement, billed_by: BilledBy, quote: Quote | None = None) -> Estimate:
    """What a plan may cost on a placement: the provider's quote where there is one, else our own estimate."""
    if quote is not None:
        return quoted(quote)
    if placement.token_price is not None:
        return for_tokens(plan, placement.token_price)
    if billed_by is BilledBy.TOKEN:
        return unpriced_tokens(plan)
    if gpu := find_gpu(placement.gpu):
        source = f"the price of {placement.name}"
        return for_gpu(plan, gpu, count=placement.gpus, rate=placement.rate, price=source, price_date=None)
    return for_machine_here(plan, cores=os.cpu_count() or 1, rate=placement.rate)


def with_own_price(plan: Plan, provider: str, placement: Placement) -> Placement:
    """The placement, billed by tokens at what `ftorch.toml` says where it says something."""
    return replace(placement, token_price=with_own(plan, provider, placement.token_price))


def bound(
    tx: Transaction,
    job: JobRow,
    plan: Plan,
    placement: Placement,
    now: datetime,
    capabilities: Capabilities,
) -> Bound:
    """The deadline and the hold of the job's next run. Raises BudgetError when nothing is left for it.

    Call it in the transaction that writes the hold: of two runs that want the last dollar, one gets it.
    """
    limits = [*_own(tx, job.id, plan), *rules(tx, plan, now, already=job)]
    placed = with_own_price(plan, job.provider, placement)
    computed = estimate(plan, placed, capabilities.billed_by, quote_of(job))
    return budget.bound(plan, computed, rate=placement.rate, limits=limits, overhead_s=capabilities.overhead_s)


def rules(tx: Transaction, plan: Plan, now: datetime, *, already: JobRow | None = None) -> list[Limit]:
    """The limits of `ftorch.toml` that the job spends from, with what is gone of them in their period.

    What `already` holds since its submit is its own, and does not stand in its way.
    """
    own = Money.from_micro(already.hold_micro if already else 0)
    return [replace(limit, held=limit.held - own) for limit in (_limit(tx, rule, now) for rule in plan.budgets)]


def _own(tx: Transaction, job_id: str, plan: Plan) -> list[Limit]:
    if plan.budget is None or plan.budget.on_exceed == "notify":
        return []
    spent, held = ledger.spent_micro(tx, job_id), ledger.held_micro(tx, job_id)
    return [Limit(JOB_LIMIT, plan.budget.limit, Money.from_micro(spent), Money.from_micro(held))]


def _limit(tx: Transaction, rule: BudgetRule, now: datetime) -> Limit:
    since = budget.period_start(rule.period, now)
    spent, held = tx.pairs(sql.SPEND_SINCE, since=since), tx.pairs(sql.HELD_NOW)
    if rule.label is not None:
        ours = {job for job, labels in tx.pairs(sql.LABELS).items() if rule.counts(json.loads(labels))}
        spent, held = ({job: micro for job, micro in some.items() if job in ours} for some in (spent, held))
    return Limit(rule.words, rule.limit, _sum(spent.values()), _sum(held.values()))


def _sum(micros: Iterable[int]) -> Money:
    return Money.from_micro(int(sum(micros)))
