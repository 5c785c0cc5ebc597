"""The lifetime of one job or manifest: its real spend, its quality on held-out rows, its prices."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from ftorch.core.errors import Fault, ManifestError, UsageError
from ftorch.core.money import Money
from ftorch.core.quality import NOT_MEASURED, Quality, QualityState
from ftorch.costs.lifetime import LifetimeReport, TrainCost, lifetime
from ftorch.jobs.subject import named_manifest, newest_job, subject
from ftorch.jobs.views import spend_of
from ftorch.manifest.lifetime import Assumed, Lifetime
from ftorch.store import JobRow, Store

_HINT = "add lifetime: {calls_per_period: ..., periods: ..., hosted: {...}, serving: {...}} to the manifest"


def lifetime_of(store: Store | None, reference: str, cwd: Path, *, start: date) -> LifetimeReport:
    """The answer for a manifest, or for the job that the reference names.

    Raises ManifestError where the manifest has no `lifetime`, UsageError for a job that does not exist or has none.
    """
    if manifest := named_manifest(reference, cwd):
        if manifest.lifetime is None:
            raise ManifestError([Fault("is missing", file=reference, key="lifetime", hint=_HINT)])
        job = newest_job(store, manifest.name) if store else None
        return _answer(manifest.lifetime, store, job, start)
    if store is None:
        raise UsageError(f"no job is called {reference!r}", hint="give a manifest, or run `ftorch jobs`")
    found = subject(store, reference, cwd)
    if found.plan.lifetime is None:
        raise UsageError(
            f"job {found.job.id} was submitted without lifetime", hint=f"{_HINT}, then run `ftorch lifetime MANIFEST`"
        )
    return _answer(found.plan.lifetime, store, found.job, start)


def _answer(block: Lifetime, store: Store | None, job: JobRow | None, start: date) -> LifetimeReport:
    return lifetime(block, _train_cost(block, store, job), _quality(store, job), start=start)


def _train_cost(block: Lifetime, store: Store | None, job: JobRow | None) -> TrainCost | None:
    """What all runs and evaluations of the job really cost; or what the manifest assumes, and says so."""
    if isinstance(block.train_cost, Assumed):
        return TrainCost(block.train_cost.assumed, block.train_cost.source, is_assumed=True)
    if store is None or job is None:
        return None
    spend = spend_of(store.ledger_of(job.id))
    if spend.amount is None:
        return None
    source = f"ledger of job {job.id}, failed runs and evaluation included ({spend.source}, {spend.status})"
    return TrainCost(Money(spend.amount, spend.currency), source, is_assumed=False)


def _quality(store: Store | None, job: JobRow | None) -> Quality:
    """What the newest evaluation against the hosted model found."""
    if store is None or job is None:
        return NOT_MEASURED
    for row in store.evaluations_of(job.id):
        found = json.loads(row.report)["quality"]
        if found["state"] != QualityState.NOT_MEASURED:
            return Quality(QualityState(found["state"]), str(found["words"]))
    return NOT_MEASURED
