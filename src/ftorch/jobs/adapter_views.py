"""Adapters as people and programs see them: their version, whether they serve, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError, NotFinishedError
from ftorch.jobs.receipt import read_receipt
from ftorch.jobs.serving import find_version, in_service, label
from ftorch.jobs.views import Spend, pick, spend_of
from ftorch.store import JobRow, Store, Transaction, schedule_sql
from ftorch.store.schedule_rows import PromotionRow, VersionRow


@dataclass(frozen=True, slots=True)
class Lineage:
    """What an adapter was made from. `spend` is what its job has cost by now, evaluation included."""

    dataset: str
    parent: str | None
    """The version that was in service when it came home."""
    plan_hash: str
    manifest: Path
    code: str
    """The version of ftorch that brought it home."""
    spend: Spend


@dataclass(frozen=True, slots=True)
class AdapterView:
    """An adapter that came home. Of a folder that this installation does not know only path and receipt are known.

    Where the folder cannot be read here, as on another host, the receipt is empty and the lineage unknown.
    """

    job: str
    name: str
    path: Path
    receipt: Mapping[str, Any]
    version: str | None = None
    state: str | None = None
    """kept, promoted or refused."""
    reason: str = ""
    in_service: bool = False
    lineage: Lineage | None = None
    is_here: bool = True


@dataclass(frozen=True, slots=True)
class PromotionView:
    """A version was put into service."""

    at: datetime
    version: str
    previous: str | None
    how: str
    """gate, person or rollback."""
    note: str
    evaluation: str | None
    host: str


def adapter_views(store: Store) -> list[AdapterView]:
    """All adapters that came home, newest first; also those whose folders are not here."""
    reader = store.read()
    serving: Mapping[str, int] = reader.pairs(schedule_sql.IN_SERVICE)
    rows = {row.job_id: row for row in reader.many(VersionRow, schedule_sql.VERSIONS)}
    return [_view(store, job, rows.get(job.id), serving, _receipt_if_here(job)) for job in store.jobs() if job.adapter]


def adapter_view(store: Store, reference: str) -> AdapterView:
    """The adapter of a job, or `name/3`, or `name@latest`.

    Raises NotFinishedError for a job that has none yet, ArtifactError where its folder is not here.
    """
    if "/" in reference or "@" in reference:
        version = find_version(store, reference)
        job = store.job(version.job_id) if version else None
        if version is None or job is None:
            raise NotFinishedError(
                f"no adapter is called {reference!r}", hint="run `ftorch adapters` to see those that came home"
            )
    else:
        job = pick(store, reference)
    if job.adapter is None:
        raise NotFinishedError(f"job {job.id} has no adapter: it is {job.state}", hint=f"run `ftorch wait {job.id}`")
    reader = store.read()
    receipt = read_receipt(Path(job.adapter))
    return _view(store, job, _version_of(reader, job), reader.pairs(schedule_sql.IN_SERVICE), receipt)


def promotions(store: Store, name: str) -> Sequence[PromotionView]:
    """The history of a name, oldest first."""
    rows = store.read().many(PromotionRow, schedule_sql.PROMOTIONS, name=name)
    return [
        PromotionView(
            at=row.at,
            version=label(row),
            previous=None if row.previous is None else f"{row.name}/{row.previous}",
            how=row.how,
            note=row.note,
            evaluation=row.evaluation,
            host=row.host,
        )
        for row in rows
    ]


def serving(store: Store, name: str) -> str | None:
    """`name/3`, the version in service; None where none was ever promoted."""
    found = in_service(store.read(), name)
    return label(found) if found else None


def _version_of(reader: Transaction, job: JobRow) -> VersionRow | None:
    return reader.one(VersionRow, schedule_sql.VERSION_OF_JOB, job_id=job.id)


def _receipt_if_here(job: JobRow) -> Mapping[str, Any] | None:
    """One folder that is missing, or another host's, must not keep the others from being listed."""
    try:
        return read_receipt(Path(job.adapter or ""))
    except ArtifactError:
        return None


def _view(
    store: Store,
    job: JobRow,
    version: VersionRow | None,
    serving: Mapping[str, int],
    receipt: Mapping[str, Any] | None,
) -> AdapterView:
    view = AdapterView(job.id, job.name, Path(job.adapter or ""), receipt or {}, is_here=receipt is not None)
    if version is None:
        return view
    return replace(
        view,
        version=label(version),
        state=version.state,
        reason=version.reason,
        in_service=serving.get(job.name) == version.number,
        lineage=_lineage(store, job, version, receipt) if receipt is not None else None,
    )


def _lineage(store: Store, job: JobRow, version: VersionRow, receipt: Mapping[str, Any]) -> Lineage:
    return Lineage(
        dataset=str(receipt["dataset"]["content_hash"]),
        parent=version.parent,
        plan_hash=job.plan_hash,
        manifest=Path(job.manifest_path),
        code=version.code,
        spend=spend_of(store.ledger_of(job.id)),
    )
