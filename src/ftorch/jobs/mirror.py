"""The rows that the engine works on, kept in memory by version: a tick reads what has changed, not everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from ftorch.store import JobRow, RunRow, Transaction, sql

RowT = TypeVar("RowT", JobRow, RunRow)


class Mirror:
    """Jobs that have work left, with their runs. Only `refresh` changes it."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRow] = {}
        self._runs: dict[str, RunRow] = {}
        self._keys_of: dict[str, tuple[str, ...]] = {}

    def refresh(self, reader: Transaction) -> set[str]:
        """Bring the mirror up to date; returns the jobs of which something has changed, or that have come or gone."""
        job_versions = reader.pairs(sql.WORK_JOB_VERSIONS)
        run_versions = reader.pairs(sql.WORK_RUN_VERSIONS)
        jobs = _changed(reader, JobRow, "jobs", "id", job_versions, self.jobs)
        runs = _changed(reader, RunRow, "runs", "key", run_versions, self._runs)
        touched = {job.id for job in jobs} | {run.job_id for run in runs}
        touched |= self._forget(job_versions, run_versions)
        for job in jobs:
            self.jobs[job.id] = job
        for run in runs:
            self._runs[run.key] = run
            known = self._keys_of.get(run.job_id, ())
            if run.key not in known:
                self._keys_of[run.job_id] = (*known, run.key)
        return touched

    def runs(self) -> Iterable[RunRow]:
        """All runs that are mirrored."""
        return self._runs.values()

    def runs_of(self, job_id: str) -> Sequence[RunRow]:
        """The job's runs in the order of their numbers."""
        return sorted((self._runs[key] for key in self._keys_of.get(job_id, ())), key=lambda run: run.number)

    def _forget(self, job_versions: Collection[str], run_versions: Collection[str]) -> set[str]:
        gone_runs = [run for key, run in self._runs.items() if key not in run_versions]
        gone_jobs = [job_id for job_id in self.jobs if job_id not in job_versions]
        for run in gone_runs:
            del self._runs[run.key]
            self._keys_of[run.job_id] = tuple(key for key in self._keys_of[run.job_id] if key != run.key)
        for job_id in gone_jobs:
            del self.jobs[job_id]
            self._keys_of.pop(job_id, None)
        return {*gone_jobs, *(run.job_id for run in gone_runs)}


def _changed(
    reader: Transaction,
    row_type: type[RowT],
    table: str,
    key: str,
    versions: Mapping[str, int],
    known: Mapping[str, RowT],
) -> list[RowT]:
    wanted = [name for name, version in versions.items() if (row := known.get(name)) is None or row.version != version]
    found: list[RowT] = []
    most = sql.NAMES_AT_ONCE[-1]
    for start in range(0, len(wanted), most):
        names: list[str] = wanted[start : start + most]
        count: int = next(size for size in sql.NAMES_AT_ONCE if size >= len(names))
        padded = [*names, *names[-1:] * (count - len(names))]
        statement = sql.by_names(row_type, table, key, count)
        found += reader.many(row_type, statement, **{f"n{i}": name for i, name in enumerate(padded)})
    return found
