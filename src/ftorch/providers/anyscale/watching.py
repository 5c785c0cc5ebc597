"""Observing many runs at once: one list of what has not ended, and for the rest, its own word and its folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Any

from ftorch.core.clock import Clock
from ftorch.core.errors import ProviderUnavailableError, RunNotFoundError
from ftorch.core.ids import installation_of
from ftorch.providers.anyscale import api, records
from ftorch.providers.anyscale.answers import Job
from ftorch.providers.base import ENDED, Observation, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.ray_jobs.store import UriFiles

_LOOKED_INTO = 8
"""Of so many running runs each step is read; where more run, only that they do."""
_ASKED_SINGLY = 5
"""So many runs that are not in the list are asked for one by one; more of them by their keys."""


class Watching:
    """What jobs are doing."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """Of a ref without an id that nothing is found under, nothing is said."""
        wanted = {ref.remote_id or ref.key: ref for ref in refs}
        installations = {one for ref in refs if (one := installation_of(ref.key))}
        found: dict[RunRef, Job] = {}
        for job in jobs(api.open_records(self._http, installations, operation="observe")) if wanted else ():
            for name in (job.id, job.name):
                if ref := wanted.pop(name, None):
                    found[ref] = job
        is_looked_into = sum(records.state(job) is RunState.RUNNING for job in found.values()) <= _LOOKED_INTO
        seen = {ref: self._alive(job, ref, is_looked_into=is_looked_into) for ref, job in found.items()}
        return seen | dict(self._unlisted(wanted.values()))

    def record(self, ref: RunRef, operation: str) -> Job:
        """The job, looked up by the key where its id was lost. Raises RunNotFoundError."""
        if ref.remote_id:
            return api.job(self._http, ref.remote_id, operation=operation)
        for job in jobs(api.records_of_keys(self._http, [ref.key], operation=operation)):
            return job
        raise RunNotFoundError(f"anyscale has no job {ref.key}", provider="anyscale", operation=operation)

    def _unlisted(self, refs: Collection[RunRef]) -> Iterator[tuple[RunRef, Observation]]:
        """Runs that have ended, are new, or are gone: only a not-found for its id proves that one is."""
        known: dict[str, Job] = {}
        if len(refs) > _ASKED_SINGLY:
            keys = {ref.key for ref in refs}
            known = {job.id: job for job in jobs(api.records_of_keys(self._http, keys, operation="observe"))}
        for ref in refs:
            if seen := self._one(ref, known.get(ref.remote_id or "")):
                yield ref, seen

    def _one(self, ref: RunRef, known: Job | None) -> Observation | None:
        """None: nothing learned."""
        try:
            job = known or self.record(ref, "observe")
        except RunNotFoundError:
            words = "anyscale does not know the job"
            gone = Observation(RunState.ABSENT, "not found", self._clock.now(), detail=words)
            return gone if ref.remote_id else None
        if records.state(job) not in ENDED:
            return self._alive(job, ref, is_looked_into=True)
        try:
            said = records.told(lambda: files(job, ref))
            job = job if said else with_its_run(self._http, job, "observe")
            return records.ended(job, said, self._clock.now())
        except ProviderUnavailableError:
            return None

    def _alive(self, job: Job, ref: RunRef, *, is_looked_into: bool) -> Observation:
        said = None
        if is_looked_into and records.state(job) is RunState.RUNNING:
            # A step that cannot be read now is no reason not to have seen the run.
            with suppress(ProviderUnavailableError):
                said = records.told(lambda: files(job, ref))
        return records.alive(job, said, self._clock.now())


def jobs(found: Iterator[Any]) -> list[Job]:
    """Oldest first. Anyscale is asked for that order, and not relied upon."""
    return sorted(records.readable(found), key=attrgetter("created_at"))


def with_its_run(http: Http, job: Job, operation: str) -> Job:
    """As lists have it: asked for by its id, it names its run and does not say when that began."""
    if job.last_job_run or job.last_job_run_id is None:
        return job
    listed = jobs(api.records_of_keys(http, [job.name], operation=operation))
    return next((one for one in listed if one.id == job.id), job)


def files(job: Job, ref: RunRef) -> UriFiles | None:
    """The run's folder, by what we know or else by the job's description; None where nobody says."""
    known = records.note(job)
    uri = ref.place or (known.output_uri if known else None)
    return UriFiles(uri, ref.key, "anyscale") if uri else None
