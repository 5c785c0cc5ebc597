"""Bringing the adapter home: fetched beside its place, checked, given a receipt, then moved in with one rename."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from ftorch.core.errors import ArtifactError
from ftorch.core.files import sync_folder
from ftorch.jobs.context import Context
from ftorch.jobs.receipt import BESIDE, verify, write_receipt
from ftorch.jobs.serial import ref
from ftorch.jobs.versions import number
from ftorch.manifest.catalogue import canonical_id
from ftorch.store import JobRow, RunRow, Transaction


def fetch(context: Context, job: JobRow, run: RunRow) -> None:
    """Fetch, verify and place the job's adapter. Goes on where an earlier attempt was cut; twice is harmless."""
    home = context.home.adapters / job.id
    aside = context.home.adapters / f".{job.id}.part"
    if not _is_home(home, aside):
        plan = context.plan(job)
        aside.mkdir(parents=True, exist_ok=True)
        artifact = context.open_provider(run.provider).fetch(ref(run), aside)
        write_receipt(artifact, plan, base_id=canonical_id(plan.base_model.id), job_id=job.id, run_key=run.key)
        _tidy(aside, {*artifact.files, *BESIDE})
        aside.rename(home)
        sync_folder(home.parent)
    _note(context, job, run, str(home))


def _is_home(home: Path, aside: Path) -> bool:
    """The adapter lies in its place, whole. One that was damaged there is moved back, to be mended."""
    if not home.exists():
        return False
    try:
        verify(home)
    except ArtifactError:
        shutil.rmtree(aside, ignore_errors=True)
        home.rename(aside)
        return False
    return True


def _tidy(folder: Path, keep: Collection[str]) -> None:
    """Remove the half-written files of an attempt that was killed."""
    for path in folder.iterdir():
        if path.name not in keep and path.is_file():
            path.unlink()


def _note(context: Context, job: JobRow, run: RunRow, folder: str) -> None:
    now = context.clock.now()

    def change(tx: Transaction) -> None:
        if context.change_run_in(tx, run, "fetched", folder, fetched_at=now, failures=0):
            tx.set_adapter(job.id, folder)
            number(context, tx, job)

    context.store.write(change)
