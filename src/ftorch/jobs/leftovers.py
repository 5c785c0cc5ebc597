"""Training rows on this machine that no job needs any more: frozen datasets, and bundles within those that stay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ftorch.jobs.context import Context
from ftorch.jobs.states import JobState
from ftorch.store import JobRow

KEPT = timedelta(days=30)


def find(context: Context) -> list[tuple[Path, datetime]]:
    """Folders older than 30 days that no open, succeeded or recent job names, with their age."""
    before = context.clock.now() - KEPT
    wanted = [job for job in context.store.jobs() if _is_wanted(job, before)]
    return [(path, at) for path in _unnamed(context.home.datasets, wanted) if (at := _modified_at(path)) < before]


def delete(context: Context, folder: Path) -> bool:
    """Delete a folder that still is a leftover. False: a job has come that wants it, or it cannot be deleted."""
    if folder not in [path for path, _ in find(context)]:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _is_wanted(job: JobRow, before: datetime) -> bool:
    return job.ended_at is None or job.state == JobState.SUCCEEDED or job.ended_at >= before


def _unnamed(datasets: Path, wanted: Sequence[JobRow]) -> Iterator[Path]:
    # By name, for it is the hash of what is in it: another host may have mounted a shared folder elsewhere.
    named = {Path(job.dataset).name for job in wanted}
    bundles = {f"bundle-{job.plan_hash[:16]}" for job in wanted}
    for folder in sorted(datasets.iterdir()) if datasets.is_dir() else ():
        if folder.name not in named:
            yield folder
        else:
            yield from (bundle for bundle in sorted(folder.glob("bundle-*")) if bundle.name not in bundles)


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
