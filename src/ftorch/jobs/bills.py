"""What runs cost, from the provider into the ledger: once when the run has ended, once more when its price is final."""

from __future__ import annotations

from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.jobs.serial import history, ref
from ftorch.store import JobRow, RunRow, Transaction


def charge(context: Context, job: JobRow, run: RunRow) -> None:
    """Post what the run cost so far; its hold goes, unless nobody names a price yet.

    Where no later price can follow, the run is settled at once.
    """
    provider = context.open_provider(run.provider)
    _post(context, job, run, is_final=provider.capabilities.settle_lag_s == 0)


def settle(context: Context, job: JobRow, run: RunRow) -> None:
    """Post the run's final price: after `settle_lag_s` it does not change any more."""
    _post(context, job, run, is_final=True)


def _post(context: Context, job: JobRow, run: RunRow, *, is_final: bool) -> None:
    items = context.open_provider(run.provider).charges(ref(run), history(run))
    now = context.clock.now()
    settled = {"settled_at": now} if is_final else {}
    # What the ledger has is not held twice; a price that nobody has named yet may still be all that was held.
    hold_micro = 0 if items or is_final else run.hold_micro
    words = ", ".join(str(item.amount) for item in items) or "nobody names a price"

    def change(tx: Transaction) -> None:
        changes = {"charged_at": run.charged_at or now, "hold_micro": hold_micro, "failures": 0, **settled}
        if not context.change_run_in(tx, run, "charged", words, **changes):
            return
        before = ledger.spent_micro(tx, job.id)
        ledger.post_charges(tx, run, items, now=now)
        spent = ledger.spent_micro(tx, job.id)
        if run.charged_at is not None and items:
            tell(context, tx, _final(job, run, before, spent))
        if job.limit_micro is not None and before <= job.limit_micro < spent:
            limit = Money.from_micro(job.limit_micro)
            over = f"{Money.from_micro(spent)} is spent, budget.limit is {limit}"
            tx.add_event(context.event(job.id, run.key, "over budget", over))

    context.store.write(change)


def _final(job: JobRow, run: RunRow, before_micro: int, micro: int) -> Notice:
    """What is told when a price came that does not change any more."""
    return Notice(
        kind=NoticeKind.BILL,
        subject=f"bill/{run.key}",
        title=f"{job.name}: the price of run {run.number} is final",
        job_id=job.id,
        dollars={"spend": Money.from_micro(micro), "spend_before": Money.from_micro(before_micro)},
        about={"name": job.name, "run": run.key, "provider": run.provider},
    )
