"""What a run cost, from its record where there is one, from what was seen of it, and from the organisation's usage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from ftorch.core.clock import Clock
from ftorch.core.errors import BillNotEnabledError, RunNotFoundError
from ftorch.costs.items import LineItem
from ftorch.providers.anyscale import api, bills, money, records, watching
from ftorch.providers.anyscale.answers import Job, Usage
from ftorch.providers.anyscale.capabilities import SETTLE_LAG_S
from ftorch.providers.anyscale.directory import Directory
from ftorch.providers.base import ENDED, Observation, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.late_records import charge, charge_as_seen
from ftorch.providers.sightings import last_rate, paid_time

_DAY = timedelta(days=1)


class Charging:
    """Charges of runs, and what the bill needs to know beside its rows."""

    def __init__(self, http: Http, directory: Directory, clock: Clock) -> None:
        self._http = http
        self._directory = directory
        self._clock = clock

    def of_job(self, job: Job, key: str, history: Sequence[Observation]) -> Sequence[LineItem]:
        """By its record; what was seen of its beginning and end stands in for what the record does not tell."""
        now = self._clock.now()
        began = next((seen.billable_from for seen in history if seen.billable_from), None)
        end = next((seen.billable_to for seen in history if seen.billable_to), None)
        if began is None:
            job = watching.with_its_run(self._http, job, "charges")
        if records.state(job) in ENDED:
            seen = records.ended(job, None, now, seen_began=began, seen_end=end)
        else:
            seen = records.alive(job, None, now, seen_began=began)
        return self._charge(job.id, key, seen, records.is_hosted(job), job.created_at)

    def of_deleted(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """By what was seen of it: its record is gone, and the usage names it all the same."""
        period, job_id = paid_time(history), ref.remote_id
        if period is None or job_id is None:
            return charge_as_seen(money.subject(job_id or ref.key, ref.key), history)
        seen = Observation(
            RunState.ABSENT,
            "not found",
            self._clock.now(),
            billable_from=period.start,
            billable_to=period.end,
            rate=last_rate(history),
        )
        # Its machines came before it was first seen to cost: a little, and that may have been the day before.
        return self._charge(job_id, ref.key, seen, None, period.start - _DAY)

    def is_hosted(self, row: Usage) -> bool:
        """By its cloud, else by what its job has noted. Where neither tells, it is a fee: that takes nothing off."""
        known = self._directory.is_hosted(row.cloud_id) if row.cloud_id else None
        if known is None and row.job_id:
            with suppress(RunNotFoundError):
                known = records.is_hosted(api.job(self._http, row.job_id, operation="line_items"))
        return bool(known)

    def _charge(
        self, job_id: str, key: str, seen: Observation, noted: bool | None, since: datetime
    ) -> Sequence[LineItem]:
        rows = self._rows_of(job_id, since)
        is_hosted = all(map(self.is_hosted, rows)) if noted is None else noted
        run = money.subject(job_id, key, is_hosted=is_hosted)
        return charge(run, seen, seen.rate, money.used(rows), now=self._clock.now(), settle_lag_s=SETTLE_LAG_S)

    def _rows_of(self, job_id: str, since: datetime) -> Sequence[Usage]:
        """What the bill has of it so far; nothing where it may not be read."""
        now = self._clock.now()
        with suppress(BillNotEnabledError):
            return [row for row in bills.rows(self._http, min(since, now), now) if row.job_id == job_id]
        return ()
