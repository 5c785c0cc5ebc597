"""What a person means by JOB, ADAPTER or MANIFEST where a finished job is looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftorch.core.errors import UsageError
from ftorch.jobs.kept_plan import kept_plan
from ftorch.jobs.receipt import NAME as RECEIPT
from ftorch.jobs.receipt import read_receipt
from ftorch.jobs.views import pick
from ftorch.manifest.load import load_manifest
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Manifest
from ftorch.store import JobRow, Store, sql

_MANIFESTS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Subject:
    """A job with its plan; `eval`, `lifetime`, `task` and `budget` are the manifest's where one was named."""

    job: JobRow
    plan: Plan


def named_manifest(reference: str, cwd: Path) -> Manifest | None:
    """The manifest that the reference is the path of, or None when it is something else. Raises ManifestError."""
    path = cwd / reference
    return load_manifest(path) if path.suffix in _MANIFESTS else None


def subject(store: Store, reference: str, cwd: Path) -> Subject:
    """The job meant by an id, a name, an adapter's folder or a manifest.

    Raises UsageError when there is none, StoreError for a plan that this version cannot read.
    """
    if manifest := named_manifest(reference, cwd):
        job = _newest(store, manifest, reference)
        blocks = {name: getattr(manifest, name) for name in ("eval", "lifetime", "task", "budget")}
        return Subject(job, kept_plan(store, job.id).model_copy(update=blocks))
    folder = cwd / reference
    job = _of_adapter(store, folder) if (folder / RECEIPT).is_file() else pick(store, reference)
    return Subject(job, kept_plan(store, job.id))


def newest_job(store: Store, name: str) -> JobRow | None:
    """The newest job of a manifest's name: with an adapter if there is one, else the newest of all."""
    jobs = store.read().many(JobRow, sql.JOBS_BY_NAME, name=name)
    return next((job for job in jobs if job.adapter), jobs[0] if jobs else None)


def _newest(store: Store, manifest: Manifest, reference: str) -> JobRow:
    job = newest_job(store, manifest.name)
    if job is None:
        raise UsageError(f"{manifest.name} has no job yet", hint=f"run `ftorch submit {reference}`")
    return job


def _of_adapter(store: Store, folder: Path) -> JobRow:
    job_id = str(read_receipt(folder)["job"])
    job = store.job(job_id)
    if job is None:
        raise UsageError(
            f"the adapter in {folder} is of job {job_id}, which this installation does not know",
            hint="set FTORCH_HOME to the state folder that holds its held-out rows",
        )
    return job
