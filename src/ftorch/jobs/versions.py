"""Versions of adapters, `name/3`, and which of them is in service, `name@latest`. Every change of that is kept.

Adapters are never overwritten: to go back is to point at the folder that was there all along.
"""

from __future__ import annotations

from collections.abc import Sequence

import ftorch
from ftorch.core.errors import UsageError
from ftorch.core.host import host_id
from ftorch.jobs.context import Context
from ftorch.jobs.receipt import verify
from ftorch.jobs.serving import KEPT, PROMOTED, SEE, folder_of, in_service, label, must_find
from ftorch.store import JobRow, Transaction, schedule_sql
from ftorch.store.schedule_rows import PromotionRow, VersionRow

GATE, PERSON, ROLLBACK = "gate", "person", "rollback"
"""How a version came into service."""


def number(context: Context, tx: Transaction, job: JobRow) -> None:
    """Give an adapter that has come home the next number of its name. One that has a number keeps it."""
    serving = in_service(tx, job.name)
    row = VersionRow(
        job_id=job.id,
        name=job.name,
        number=int(tx.scalar(schedule_sql.LAST_NUMBER, name=job.name)) + 1,
        state=KEPT,
        parent=label(serving) if serving else None,
        code=ftorch.__version__,
        made_at=context.clock.now(),
    )
    tx.insert(schedule_sql.ADD_VERSION, row)


def put_into_service(
    context: Context, tx: Transaction, version: VersionRow, how: str, *, evaluation: str | None = None, note: str = ""
) -> None:
    """Make a version the one in service, and say so of it. One that is already stays without a new line of history."""
    serving = in_service(tx, version.name)
    if serving is not None and serving.number == version.number:
        return
    row = PromotionRow(
        name=version.name,
        number=version.number,
        previous=serving.number if serving else None,
        how=how,
        evaluation=evaluation,
        note=note,
        host=host_id(context.home),
        at=context.clock.now(),
    )
    tx.insert(schedule_sql.ADD_PROMOTION, row, without="id")
    tx.run(schedule_sql.SAY_OF_VERSION, job_id=version.job_id, state=PROMOTED, reason=note)
    tx.add_event(context.event(version.job_id, None, f"put into service as {label(version)}", f"by {how}"))


def promote(context: Context, reference: str, *, note: str = "") -> VersionRow:
    """A person's word: this version is in service from now on. Its files are checked first; raises ArtifactError.

    Twice is harmless.
    """
    version = must_find(context.store, reference)
    return _change_over(context, version, PERSON, note)


def roll_back(context: Context, name: str, *, to: int | None = None, note: str = "") -> VersionRow:
    """Go back to the version that was in service before this one, or to number `to`, byte for byte.

    Raises UsageError where there is nothing to go back to, ArtifactError where its files are not what came home.
    """
    reader = context.store.read()
    target = to if to is not None else _before(reader.many(PromotionRow, schedule_sql.PROMOTIONS, name=name), name)
    return _change_over(context, must_find(context.store, f"{name}/{target}"), ROLLBACK, note)


def _change_over(context: Context, version: VersionRow, how: str, note: str) -> VersionRow:
    verify(folder_of(context.store, version))

    context.store.write(lambda tx: put_into_service(context, tx, version, how, note=note))
    return must_find(context.store, label(version))


def _before(promotions: Sequence[PromotionRow], name: str) -> int:
    """What was in service before what is now. One that was gone back from is not gone back to."""
    stack: list[int] = []
    for row in promotions:
        if row.number in stack:
            del stack[stack.index(row.number) + 1 :]
        else:
            stack.append(row.number)
    if len(stack) < 2:
        words = (
            f"{name} has only ever had {name}/{stack[0]} in service" if stack else f"nothing of {name} is in service"
        )
        raise UsageError(f"{words}: there is nothing to go back to", hint=f"{SEE}, then `ftorch adapters promote`")
    return stack[-2]
