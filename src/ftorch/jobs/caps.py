"""Caps: how many runs may be open at once, per provider and per label. Who comes first, by job id, goes first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ftorch.manifest.settings import Cap
from ftorch.providers.registry import entries
from ftorch.store import JobRow, RunRow, Transaction, sql


def with_defaults(caps: Sequence[Cap]) -> tuple[Cap, ...]:
    """The caps of ftorch.toml, and one for each provider that bears few runs and has none of its own there."""
    named = {cap.provider for cap in caps if cap.label is None}
    limits = {name: entry.most_runs for name, entry in entries().items() if name not in named}
    return (*caps, *(Cap(provider=name, runs=most) for name, most in limits.items() if most is not None))


class Caps:
    """Counts open runs against the caps of ftorch.toml."""

    def __init__(self, caps: Sequence[Cap]) -> None:
        self._caps = caps
        self._open: Counter[int] = Counter()
        self.waiting: set[str] = set()
        """Jobs that were refused a place since the last count."""

    def count(self, runs: Iterable[RunRow], jobs: Mapping[str, JobRow]) -> None:
        """Count the open runs anew."""
        if not self._caps:
            return
        self._open.clear()
        self.waiting.clear()
        for run in runs:
            if run.ended_at is None and (job := jobs.get(run.job_id)):
                self._open.update(self._of(run.provider, job))

    def take(self, job: JobRow) -> bool:
        """A place for one more run of the job, counted at once; False when a cap is reached."""
        ours = self._of(job.provider, job)
        if any(self._open[i] >= self._caps[i].runs for i in ours):
            self.waiting.add(job.id)
            return False
        self._open.update(ours)
        return True

    def _of(self, provider: str, job: JobRow) -> list[int]:
        if not self._caps:
            return []
        labels = json.loads(job.labels)
        return [i for i, cap in enumerate(self._caps) if cap.counts(provider, labels)]


def has_place(tx: Transaction, caps: Sequence[Cap], job: JobRow) -> bool:
    """True where one more run of the job is within every cap; asked in the transaction that opens the run.

    What waits in a lane, or is opened by another daemon, is not in anybody's count.
    """
    labels = json.loads(job.labels)
    ours = [cap for cap in caps if cap.counts(job.provider, labels)]
    if not ours:
        return True
    places = [(provider, json.loads(text)) for provider, text in tx.counts(sql.OPEN_PLACES)]
    return all(sum(cap.counts(*place) for place in places) < cap.runs for cap in ours)
