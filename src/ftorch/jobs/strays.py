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
from ftorch.providers.base import ENDED, Observation, Provider, RunRef, RunState
from ftorch.store import RunRow

_NO_ROW = "no job of this database knows it"
_CLOSED = "its job has ended and its run was closed"
_OTHER = "a second run under the key of one that was closed"
_STILL_RENTED = "it has ended, and nobody has proven that what it rented is gone"


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
    unguarded = {ref: known for ref, known in rows if not any(map(is_open, known))}
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


def is_same(row: RunRow, ref: RunRef) -> bool:
    """Row and reference mean one run; where one of them does not know the remote id, the key decides."""
    return None in (row.remote_id, ref.remote_id) or row.remote_id == ref.remote_id


def mark_of_reaped(ref: RunRef) -> str:
    """The row of meta that remembers a run as reaped: some providers show ended runs for ever."""
    return f"reaped/{ref.provider}/{ref.account}/{ref.key}/{ref.remote_id or ''}"


def _stray(
    context: Context, provider: Provider, ref: RunRef, rows: Sequence[RunRow], seen: Observation | None
) -> Stray | None:
    """None for a run that is gone, or of which nothing was learned."""
    if seen is None or seen.state is RunState.ABSENT or any(row.account != ref.account for row in rows):
        return None
    known = next((row for row in rows if is_same(row, ref)), None)
    if seen.state in ENDED:
        is_done = known is not None or context.store.meta(mark_of_reaped(ref)) is not None
        why = None if is_done or not provider.capabilities.rents_machines else _STILL_RENTED
    else:
        why = _CLOSED if known else _OTHER if rows else _NO_ROW
    if why is None:
        return None
    return Stray(ref, seen, seen.billable_from or made_at(ref.key), why, known or next(iter(rows), None))
