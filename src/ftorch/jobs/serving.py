"""Which version of an adapter is meant, and where it lies. Reads rows alone: no provider, no pydantic."""

from __future__ import annotations

import re
from pathlib import Path

from ftorch.core.errors import UsageError
from ftorch.store import JobRow, Store, Transaction, schedule_sql, sql
from ftorch.store.schedule_rows import OccurrenceRow, PromotionRow, VersionRow

LATEST = "@latest"
KEPT, PROMOTED, REFUSED = "kept", "promoted", "refused"
_NUMBERED = re.compile(r"^(?P<name>[a-z0-9-]+)/(?P<number>[0-9]+)$")
SEE = "run `ftorch adapters` to see those that came home"


def label(row: VersionRow | PromotionRow) -> str:
    """`name/3`."""
    return f"{row.name}/{row.number}"


def in_service(tx: Transaction, name: str) -> VersionRow | None:
    """The version that `name@latest` means where one was ever promoted; None where none was."""
    last = tx.one(PromotionRow, schedule_sql.LAST_PROMOTION, name=name)
    return tx.one(VersionRow, schedule_sql.VERSION, name=name, number=last.number) if last else None


def standing(tx: Transaction, version: VersionRow) -> VersionRow | None:
    """What `name@latest` meant before this version came home: the one in service, else the newest not refused."""
    if serving := in_service(tx, version.name):
        return serving
    known = tx.many(VersionRow, schedule_sql.VERSIONS)
    earlier = [row for row in known if row.name == version.name and row.number < version.number]
    return max((row for row in earlier if row.state != REFUSED), key=lambda row: row.number, default=None)


def find_version(store: Store, reference: str) -> VersionRow | None:
    """The version meant by `name/3`, `name@latest`, a name, a job or a unique prefix of one; None: no such adapter.

    Where nothing was promoted yet, a name means the newest adapter that no gate has refused, and that none has yet to
    judge.
    """
    reader = store.read()
    if found := _NUMBERED.match(reference):
        return reader.one(VersionRow, schedule_sql.VERSION, name=found["name"], number=int(found["number"]))
    name = reference.removesuffix(LATEST)
    if serving := in_service(reader, name):
        return serving
    known = reader.many(VersionRow, schedule_sql.VERSIONS)
    waiting = (schedule_sql.OCCURRENCES_OPEN, schedule_sql.OCCURRENCES_RETRIED)
    unjudged = {row.job_id for statement in waiting for row in reader.many(OccurrenceRow, statement)}
    named = [row for row in known if row.name == name and row.state != REFUSED and row.job_id not in unjudged]
    begun = [row for row in known if row.job_id.startswith(name)] if name == reference and name else []
    return named[0] if named else begun[0] if len(begun) == 1 else None


def must_find(store: Store, reference: str) -> VersionRow:
    """As `find_version`; raises UsageError where there is none."""
    found = find_version(store, reference)
    if found is None:
        raise UsageError(f"no adapter is called {reference!r}", hint=SEE)
    return found


def folder_of(store: Store, version: VersionRow) -> Path:
    """Where its files lie."""
    job = store.read().one(JobRow, sql.JOB, id=version.job_id)
    assert job is not None
    assert job.adapter is not None
    return Path(job.adapter)
