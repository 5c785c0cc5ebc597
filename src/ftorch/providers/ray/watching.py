"""Observing many runs at once: single questions for a few jobs, one list for many, and what the runs have left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from ftorch.core.clock import Clock, from_micros
from ftorch.core.errors import CredentialsError, FtorchError, ProviderUnavailableError, RunRejectedError
from ftorch.providers.base import ENDED, Observation, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.ray import api, orders, readings
from ftorch.providers.ray.files import SessionFiles
from ftorch.providers.ray_jobs.files import RunFiles
from ftorch.providers.ray_jobs.markers import Marked, marked
from ftorch.providers.ray_jobs.status import Status
from ftorch.providers.ray_jobs.store import UriFiles

_FEW = 5
"""So many jobs are asked for one by one; for more, one list costs the cluster less."""
_LONG_WAIT = timedelta(minutes=2)
"""A job that waits longer says what the cluster has."""

log = structlog.get_logger()


class Watching:
    """What jobs are doing. Threads may share it: what two ask at once is asked twice."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._began: dict[str, datetime] = {}
        """When open runs began: among many, each is asked for it once, since its cost counts from then."""

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """A folder is read when its job has ended, and while it runs: among many, at the first look alone."""
        jobs = self.jobs([ref.key for ref in refs], "observe")
        is_few = len(refs) <= _FEW
        seen: dict[RunRef, Observation] = {}
        for ref in (one for one in refs if one.key in jobs):
            # One whose storage does not answer now is asked again; it must not hide the others.
            with suppress(ProviderUnavailableError):
                seen[ref] = self.look(jobs[ref.key], is_few=is_few)
        missing = [ref for ref in refs if ref.key not in jobs]
        for ref in missing:
            self._began.pop(ref.key, None)
        if missing:
            session, now = api.version(self._http, "observe").session_name, self._clock.now()
            seen |= {ref: readings.absent(session, ref.place, now) for ref in missing}
        return seen

    def jobs(self, keys: Collection[str], operation: str) -> dict[str, api.Job]:
        """The jobs that the session has of these keys."""
        if len(keys) > _FEW:
            wanted = set(keys)
            found: Iterable[api.Job] = api.jobs(self._http, operation)
            return {one.submission_id: one for one in found if one.submission_id in wanted}
        asked = {key: api.job(self._http, key, operation) for key in keys}
        return {key: job for key, job in asked.items() if job is not None}

    def look(self, job: api.Job, *, is_few: bool = True) -> Observation:
        """One job. Raises ProviderUnavailableError for one that has ended and whose storage does not answer now."""
        key, state = job.submission_id or "", readings.state_of(job)
        told, said = self._left(job, state, is_few=is_few)
        began = self._remembered(key, state, told, said)
        # Among many a step is not read at each look, so it is not told at the first one either.
        shown = told if is_few or state in ENDED else None
        seen = readings.observation(job, shown, self._clock.now(), said=said, began=began)
        return self._waiting(job, seen) if state is RunState.QUEUED and is_few else seen

    def _left(self, job: api.Job, state: RunState, *, is_few: bool) -> tuple[Status | None, Marked | None]:
        """What the run tells by its folder, or else by its log; nothing where it is not looked into."""
        key, is_running = job.submission_id or "", state is RunState.RUNNING
        is_new = is_running and key not in self._began
        told = self._told(job, state) if state in ENDED or is_new or (is_running and is_few) else None
        return told, self._said(key) if told is None and (state in ENDED or is_new) else None

    def _remembered(self, key: str, state: RunState, told: Status | None, said: Marked | None) -> datetime | None:
        """When the run began, as this look or an earlier one has told."""
        found = told or said
        if state in ENDED:
            return self._began.pop(key, None)
        if found is not None:
            self._began[key] = found.started_at
        return self._began.get(key)

    def _told(self, job: api.Job, state: RunState) -> Status | None:
        """What the run itself has left. Where its storage may not be read from here, Ray's own word is all there is."""
        try:
            return Status.parse(files(self._http, job, "observe").read("status.json"))
        except ProviderUnavailableError:
            if state in ENDED:
                raise
        except (CredentialsError, RunRejectedError) as error:
            log.warning("the run's folder may not be read from here", provider="ray", error=error.message)
        return None

    def _said(self, key: str) -> Marked | None:
        """What the run has printed of itself, where its folder says nothing. A log that is gone says nothing either."""
        with suppress(ProviderUnavailableError):
            return marked(api.logs(self._http, key, "observe") or "", key)
        return None

    def _waiting(self, job: api.Job, seen: Observation) -> Observation:
        """A job that waits for long says what the cluster has."""
        if job.start_time is None or self._clock.now() - from_micros(job.start_time * 1000) < _LONG_WAIT:
            return seen
        said = ""
        with suppress(FtorchError):  # a proxy may let only the jobs through; it is for the words alone
            said = " ".join(api.cluster_status(self._http).split())
        return replace(seen, detail=f"waits for room; {said}" if said else "waits for room")


def files(http: Http, job: api.Job, operation: str) -> RunFiles:
    """The run's folder: in the storage that its order names, else among the logs of the session."""
    key = job.submission_id or ""
    if output_uri := orders.output_uri_of(job):
        return UriFiles(output_uri, key, "ray")
    return SessionFiles(http, key, job.driver_node_id, operation)
