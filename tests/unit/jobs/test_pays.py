"""The lifetime follows the ledger: after every step the train cost is the sum of the job's entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import DataError
from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.costs.lifetime import LifetimeReport
from ftorch.jobs.engine import Engine
from ftorch.jobs.pays import Question, lifetime_of, ready
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.schedule import Schedule
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunRef, RunState
from unit.costs.test_logs import LINES, written
from unit.jobs.cloud import NAME, Cloud, CloudProvider, Remote
from unit.jobs.conftest import desk_in
from unit.jobs.desk import Desk
from unit.plans import plan

START = date(2026, 11, 1)
SECOND = "second"


class SecondProvider(CloudProvider):
    """Another cloud under another name."""

    name: ClassVar[str] = SECOND

    def _ref(self, run: Remote) -> RunRef:
        return RunRef(SECOND, "acct", run.key, run.id)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Desk]:
    """A desk with two clouds; the first one preempts what it is given."""
    with desk_in(tmp_path, Cloud(ManualClock())) as desk:
        second = Cloud(desk.clock)
        second.prefix = "second-"
        providers = {NAME: CloudProvider(desk.cloud), SECOND: SecondProvider(second)}
        context = replace(desk.context, open_provider=providers.__getitem__)
        context.store.write(lambda tx: tx.put_meta("mark/second/acct", "ft-abc123-earlier"))
        engine = Engine(context)
        yield Desk(context, desk.cloud, desk.clock, engine)
        engine.close()


def block(**changes: object) -> Lifetime:
    values = {
        "calls_per_period": 2000,
        "periods": 24,
        "hosted": {"per_call": "0.005 USD", "source": "list"},
        "serving": {"per_call": "0.0005 USD", "source": "quote"},
    }
    return Lifetime.model_validate({**values, **changes})


def asked(desk: Desk, job: str) -> LifetimeReport:
    return lifetime_of(desk.context.store, job, Path(), start=START)


def check(desk: Desk, job: str, status: str) -> Decimal:
    """The train cost is what the ledger sums up to, with its status; returns the crossover."""
    found = asked(desk, job)
    entries = [entry for entry in desk.context.store.ledger_of(job) if entry.kind != "tax"]
    assert found.train_cost is not None
    assert found.train_cost.amount == ledger.total(entries)
    assert found.train_cost.status == status
    assert found.crossover is not None
    return found.crossover.periods


def bill(desk: Desk, run_key: str, provider: str, job: str, amount: str, kind: EntryKind) -> None:
    """The provider's record of a run arrives, in place of the time that we measured."""
    now = desk.clock.now()
    run = desk.context.store.run(run_key)
    assert run is not None
    item = LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=f"{run_key}/record",
        kind=kind,
        amount=Money(Decimal(amount)),
        quantity=Decimal(1),
        unit="run",
        unit_price=None,
        period=Window(now - timedelta(days=2), now),
        as_of=now,
        description="the provider's record",
    )
    desk.context.store.write(lambda tx: ledger.post_charges(tx, run, [item], now=now))


def bill_tax(desk: Desk, run_key: str) -> None:
    """Tax is outside of spend, and of the train cost."""
    run = desk.context.store.run(run_key)
    assert run is not None
    now = desk.clock.now()
    tax = LineItem(
        source=SpendSource.BILLING_API,
        source_ref=f"{run_key}/tax",
        kind=EntryKind.TAX,
        amount=Money(Decimal("0.05")),
        quantity=Decimal(1),
        unit="tax",
        unit_price=None,
        period=Window(now, now),
        as_of=now,
        description="sales tax",
    )
    desk.context.store.write(
        lambda tx: ledger.post(tx, tax, provider=run.provider, account=run.account, job_id=run.job_id, now=now)
    )


def test_the_lifetime_follows_a_job_that_failed_moved_was_billed_late_and_corrected(two: Desk) -> None:
    chosen = plan(providers=(NAME, SECOND), retry={"then": "next_provider", "max_runs": 1}, lifetime=block())
    job = two.submit(chosen)
    assert asked(two, job).train_cost is None

    # It fails at the first provider after ten seconds.
    two.run_until(lambda: bool(two.cloud.runs))
    two.clock.advance(10)
    two.cloud.end(two.cloud.runs[0], RunState.FAILED, RetryEvent.PREEMPTED)
    two.run_until(lambda: bool(two.context.store.ledger_of(job)))
    after_failure = check(two, job, "provisional")

    # It succeeds at the second one; both runs count.
    assert two.finish(job).state == "succeeded"
    two.run_until(lambda: len(two.context.store.ledger_of(job)) > 1, seconds=7200)
    first, second = two.runs(job)
    assert (first.provider, second.provider) == (NAME, SECOND)
    after_success = check(two, job, "provisional")
    assert after_success > after_failure

    # Two days later the record of the second run arrives, dearer than what we measured.
    two.clock.advance(2 * 86_400)
    bill(two, second.key, SECOND, job, "0.50", EntryKind.BILLED)
    after_bill = check(two, job, "billed+provisional")
    assert after_bill > after_success

    # Then that of the first, and the second one is corrected.
    bill(two, first.key, NAME, job, "0.01", EntryKind.BILLED)
    check(two, job, "billed")
    bill_tax(two, first.key)
    check(two, job, "billed")
    two.clock.advance(3600)
    bill(two, second.key, SECOND, job, "0.20", EntryKind.ADJUSTED)
    after_correction = check(two, job, "adjusted+billed")
    assert after_correction < after_bill
    assert asked(two, job).train_cost.amount == Money.parse("0.21 USD")  # type: ignore[union-attr]  # checked above


def question(tmp_path: Path, found: Lifetime, schedule: Schedule | None = None) -> Question:
    return Question(found, schedule, None, tmp_path)


def test_a_hosted_model_is_priced_by_its_name(tmp_path: Path) -> None:
    named = block(hosted={"model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100})

    found = ready(question(tmp_path, named), {}, START).block

    assert found.hosted.per_million_output == Money.parse("0.60 USD")  # type: ignore[union-attr]  # it is by tokens now
    assert "gpt-4o-mini: genai-prices" in found.hosted.source  # type: ignore[union-attr]


def test_real_logs_give_the_price_and_the_volume(tmp_path: Path) -> None:
    rows = [{**LINES["litellm"], "startTime": f"2026-10-{day:02}T12:00:00Z"} for day in range(1, 32) for _ in range(20)]
    written(tmp_path, *rows)
    logged = block(calls_per_period=None, period="day", hosted={"logs": "calls.jsonl"})

    found = ready(question(tmp_path, logged), {}, START)

    assert found.block.calls_per_period == 20
    assert found.block.hosted.per_call == Money.parse("0.0012 USD")  # type: ignore[union-attr]
    assert "620 calls in calls.jsonl, 2026-10-01 to 2026-10-31" in found.block.hosted.source  # type: ignore[union-attr]
    assert any("volume: 20 calls a day" in words for words in found.warnings)


def test_a_volume_that_is_stated_stays(tmp_path: Path) -> None:
    rows = [
        {**LINES["openai bare"], "model": "gpt-4o-mini", "created": 1_790_000_000 + 86_400 * day} for day in range(9)
    ]
    written(tmp_path, *rows)

    found = ready(question(tmp_path, block(hosted={"logs": "calls.jsonl"})), {}, START)

    assert found.block.calls_per_period == 2000
    assert "tokens at gpt-4o-mini: genai-prices" in found.block.hosted.source  # type: ignore[union-attr]


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"calls\.jsonl: cannot be read"):
        ready(question(tmp_path, block(hosted={"logs": "calls.jsonl"})), {}, START)


def test_retrains_come_from_the_schedule_where_nothing_else_is_said(tmp_path: Path) -> None:
    weekly = Schedule(cron="0 3 * * 1")

    found = ready(question(tmp_path, block(), weekly), {}, START)

    assert found.block.retrain is not None
    assert found.block.retrain.every == pytest.approx(12 / 52, rel=0.02)
    assert any("at most: only where the dataset has changed" in words for words in found.warnings)


def test_a_retrain_that_is_stated_beats_the_schedule(tmp_path: Path) -> None:
    found = ready(question(tmp_path, block(retrain={"every": 6}), Schedule(cron="0 3 * * 1")), {}, START)

    assert found.block.retrain is not None
    assert found.block.retrain.every == 6
    assert found.warnings == ()
