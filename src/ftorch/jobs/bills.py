"""What runs cost, from the provider into the ledger: once when the run has ended, once more when its price is final."""

from __future__ import annotations

from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.jobs.context import Context
from ftorch.jobs.serial import history, ref
from ftorch.store import JobRow, RunRow, Transaction


def charge(context: Context, job: JobRow, run: RunRow) -> None:
    """Post what the run cost so far; the hold goes, for the ledger has it now.

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
    moments = {"charged_at": run.charged_at or now} | ({"settled_at": now} if is_final else {})
    words = ", ".join(str(item.amount) for item in items) or "nobody names a price"

    def change(tx: Transaction) -> None:
        if not context.change_run_in(tx, run, "charged", words, hold_micro=0, failures=0, **moments):
            return
        for item in items:
            ledger.post(tx, item, provider=run.provider, account=run.account, job_id=run.job_id, now=now)
        if job.limit_micro is not None and (spent := ledger.spent_micro(tx, job.id)) > job.limit_micro:
            limit = Money.from_micro(job.limit_micro)
            over = f"{Money.from_micro(spent)} is spent, budget.limit is {limit}"
            tx.add_event(context.event(job.id, run.key, "over budget", over))

    context.store.write(change)
