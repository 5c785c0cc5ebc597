"""Steps that need a job's files: any daemon that has them may do them, under a claim, and no other can."""

from __future__ import annotations

from datetime import datetime, timedelta

from ftorch.jobs.context import Context
from ftorch.jobs.rights import Rights
from ftorch.jobs.states import Step, StepKind
from ftorch.store import JobRow

_PATIENCE = timedelta(minutes=1)
"""So long the daemon of the other host may take to begin."""
_HINT = (
    "start one there with `ftorch daemon start`, or let all hosts reach one folder: `[artifacts] url` in ftorch.toml"
)


def claim_of(job: JobRow, step: Step) -> str:
    """The piece of work: an adapter's is its run's, the bundle's its job's."""
    return step.run.key if step.run else job.id


def note_wait(context: Context, rights: Rights, job: JobRow, step: Step, now: datetime) -> None:
    """Say once on the job's row what it waits for, where its step is overdue and no daemon is at it."""
    due_at = step.run.next_at if step.run else job.next_at
    if now - due_at < _PATIENCE:
        return
    what = "its rows lie" if step.kind is StepKind.STAGE else "its adapter is to come home"
    words = f"{what} on {job.host}, where no daemon is at work\nhint: {_HINT}"
    if job.detail != words and not rights.is_taken(claim_of(job, step)):
        context.change_job(job, "waits", words, detail=words)
