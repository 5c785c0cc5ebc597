"""What the jobs of one schedule may cost in a period: asked before a job is taken in, never while one runs."""

from __future__ import annotations

from datetime import datetime

from ftorch.core.money import Money
from ftorch.costs import budget
from ftorch.costs.budget import Limit
from ftorch.manifest.schedule import PeriodBudget
from ftorch.manifest.schema import BudgetRule
from ftorch.store import Transaction, schedule_sql, sql


def limit_of(tx: Transaction, name: str, rule: PeriodBudget, now: datetime) -> Limit:
    """The schedule's own limit, with what its jobs have spent since the period began and what is held for them.

    It is the schedule's by its name: to remove it and add it again does not begin the period anew.
    """
    ours = tx.pairs(schedule_sql.JOBS_OF_SCHEDULE, name=name)
    spent = tx.pairs(sql.SPEND_SINCE, since=budget.period_start(rule.period, now))
    held = tx.pairs(sql.HELD_NOW)
    words = BudgetRule(limit=rule.limit, period=rule.period).often
    return Limit(
        f"{words} budget of schedule {name}",
        rule.limit,
        Money.from_micro(sum(spent.get(job, 0) for job in ours)),
        Money.from_micro(sum(held.get(job, 0) for job in ours)),
        kept_in="the manifest's schedule.budget, run `ftorch schedule add` again",
    )
