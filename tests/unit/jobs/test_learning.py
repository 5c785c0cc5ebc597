"""What was estimated is kept with the job, and its outcome corrects the next estimate."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.costs.estimate import Estimate, for_tokens
from ftorch.costs.prices import TokenPrice
from ftorch.jobs.admit import admit
from ftorch.jobs.learning import corrected
from ftorch.manifest.plan import Plan
from ftorch.store import EstimateRow
from unit.jobs.cloud import NAME
from unit.jobs.desk import Desk
from unit.jobs.test_limits import resolved
from unit.plans import plan

PRICE = TokenPrice(Decimal(80), Money(Decimal(0)), "list", date(2026, 11, 1))
CHOSEN = plan(providers=(NAME,))


def estimated(chosen: Plan = CHOSEN) -> Estimate:
    """0.12 USD for 1,500 tokens; the cloud then bills 0.06 USD for its minute."""
    return for_tokens(chosen, PRICE)


def after(desk: Desk, jobs: int) -> Estimate:
    rows = desk.context.home.datasets / "rows"
    rows.mkdir(parents=True)
    (rows / "train.jsonl").write_text("{}\n")
    for _ in range(jobs):
        first = corrected(desk.context.store.read(), CHOSEN, NAME, estimated())
        desk.finish(admit(desk.context, resolved(CHOSEN), first, again=True).job.id)
    return corrected(desk.context.store.read(), CHOSEN, NAME, estimated())


def kept(desk: Desk) -> list[int | None]:
    rows = desk.context.store.read().many(EstimateRow, "SELECT * FROM estimates ORDER BY job_id")
    return [row.amount_micro for row in rows]


def test_before_any_job_the_estimate_stays(desk: Desk) -> None:
    assert after(desk, 0) == estimated()
    assert corrected(None, CHOSEN, NAME, estimated()) == estimated()


def test_what_jobs_really_cost_corrects_the_next_estimate(desk: Desk) -> None:
    taught = after(desk, 6)

    assert taught.learned is not None
    assert taught.learned.jobs == 6
    assert taught.amount is not None
    assert abs(taught.amount.amount - Decimal("0.06")) < Decimal("0.005")
    assert "learned from 6 jobs" in taught.basis


def test_what_is_kept_is_the_estimate_before_anything_was_learned(desk: Desk) -> None:
    after(desk, 3)

    assert kept(desk) == [120_000, 120_000, 120_000]


def test_another_base_model_teaches_nothing(desk: Desk) -> None:
    after(desk, 2)
    other = CHOSEN.model_copy(update={"base_model": CHOSEN.base_model.model_copy(update={"id": "Qwen/Qwen3-8B"})})

    assert corrected(desk.context.store.read(), other, NAME, estimated()).learned is None
    assert corrected(desk.context.store.read(), CHOSEN, "local", estimated()).learned is None


def test_a_job_that_failed_teaches_nothing(desk: Desk) -> None:
    desk.cloud.faults.append("reject")

    assert after(desk, 1).learned is None


def test_an_estimate_without_a_price_is_kept_as_unknown(desk: Desk) -> None:
    unpriced = replace(estimated(), amount=None, growing=None)

    admit(desk.context, resolved(CHOSEN), unpriced, again=True)

    assert kept(desk) == [None]
