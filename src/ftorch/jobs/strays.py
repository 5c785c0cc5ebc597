"""Runs that cost money and that no open row answers for: what a provider shows, held against the rows.

Only what carries this installation's mark, in the account that the credentials open, is ever looked at. Rows are read
before the runs are observed, so that a run which ends between the two is not taken for one that nobody ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ftorch.core.ids import installation_of, made_at
from ftorch.jobs.context import Context
from ftorch.jobs.states import JobReason
from ftorch.providers.base import ENDED, Observation, Provider, RunRef, RunState
from ftorch.store import RunRow

_NO_ROW = "no job of this database knows it"
_CLOSED = "its job has ended and its run was closed"
_OTHER = "a second run under the key of one that was closed"
_STILL_RENTED = "it has ended, and nobody has proven that what it rented is gone"
_UNSEEN = "it has ended, and showed itself only after its row was closed: nobody has booked it"
_WAITED_FOR = "its job could not find it and waits; it goes on with it at the daemon's next look"


@dataclass(frozen=True, slots=True)
class Stray:
    """A run at a provider that no open row answers for."""

    ref: RunRef
    seen: Observation
    since: datetime | None
    """When it began to cost, else when its key was made."""
    why: str
    row: RunRow | None
    """The closed row of its key."""


def ours(context: Context, provider: Provider, installation: str | None = None) -> Iterator[RunRef]:
    """What carries an installation's mark, ours by default, in the account that the credentials open.

    A provider that shows more than it was asked for is not believed.
    """
    mark = installation or context.installation
    account = context.account(provider.name)
    for ref in provider.owned(mark):
        if installation_of(ref.key) == mark and ref.account == account:
            yield ref


def strays(context: Context, provider: Provider) -> list[Stray]:
    """Every run of ours that lives, or still rents something, without an open row."""
    rows = ((ref, rows_of(context, ref.key)) for ref in ours(context, provider))
    unguarded = {ref: known for ref, known in rows if not any(is_open(row) and not is_unknown(row) for row in known)}
    seen = provider.observe(list(unguarded))
    found = [_stray(context, provider, ref, known, seen.get(ref)) for ref, known in unguarded.items()]
    return [stray for stray in found if stray is not None]


def rows_of(context: Context, key: str) -> list[RunRow]:
    """The rows under one key: the run's own first, then its duplicates."""
    run = context.store.run(key)
    if run is None:
        return []
    return [row for row in context.store.runs_of(run.job_id) if row.key.partition("/")[0] == key]


def is_open(row: RunRow) -> bool:
    """The engine still works on it, or keeps its machine for a person."""
    return row.ended_at is None or row.released_at is None


def is_unknown(row: RunRow) -> bool:
    """Nobody could tell whether it was created: it waits for a person, or until it shows itself."""
    return row.ended_at is None and row.state is None and row.detail == JobReason.SUBMIT_UNKNOWN


def was_seen(rows: Sequence[RunRow]) -> bool:
    """A row of the run has been observed. What was closed unseen may have an end that nobody knows."""
    return any(row.observed_at is not None for row in rows)


def is_same(row: RunRow, ref: RunRef) -> bool:
    """Row and reference mean one run; where one of them does not know the remote id, the key decides."""
    return None in (row.remote_id, ref.remote_id) or row.remote_id == ref.remote_id


def mark_of_reaped(ref: RunRef) -> str:
    """The row of meta that remembers a run as reaped: some providers show ended runs for ever."""
    return f"reaped/{ref.provider}/{ref.account}/{ref.key}/{ref.remote_id or ''}"


def is_reaped(context: Context, ref: RunRef) -> bool:
    return context.store.meta(mark_of_reaped(ref)) is not None


def _stray(
    context: Context, provider: Provider, ref: RunRef, rows: Sequence[RunRow], seen: Observation | None
) -> Stray | None:
    """None for a run that is gone, or of which nothing was learned."""
    if seen is None or seen.state is RunState.ABSENT or any(row.account != ref.account for row in rows):
        return None
    same = [row for row in rows if is_same(row, ref)]
    if any(map(is_unknown, same)):
        why: str | None = _WAITED_FOR
    elif seen.state not in ENDED:
        why = _CLOSED if same else _OTHER if rows else _NO_ROW
    else:
        why = None if is_reaped(context, ref) else _why_not_over(provider, same)
    if why is None:
        return None
    return Stray(ref, seen, seen.billable_from or made_at(ref.key), why, next(iter(same or rows), None))


def _why_not_over(provider: Provider, same: Sequence[RunRow]) -> str | None:
    """What is left to do for a run that has ended; `same` are its closed rows."""
    if same:
        return None if was_seen(same) else _UNSEEN
    return _STILL_RENTED if provider.capabilities.rents_machines else None
