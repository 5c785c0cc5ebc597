"""Content that we staged at a provider and that no job needs any more: found, and on a person's word deleted.

It is ours when it carries our mark, or when its hash is one of a job's files. What an open or recent job names stays,
and so does everything else at a provider where a job is just being staged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from ftorch.core.errors import StoreError
from ftorch.core.ids import mark_in
from ftorch.jobs.bundle import hashes_of
from ftorch.jobs.context import Context
from ftorch.jobs.leftovers import KEPT
from ftorch.jobs.serial import staged_value
from ftorch.providers.base import Provider, StagedContent, Stages
from ftorch.store import JobRow, Transaction, sql


def find(context: Context, provider: Provider) -> list[StagedContent]:
    """What of ours has lain at the provider for 30 days and no open or recent job names, oldest first."""
    if not isinstance(provider, Stages):
        return []
    found = _unneeded(context, provider, list(provider.staged_content()))
    return sorted(found, key=lambda one: (one.created_at, one.id))


def discard(context: Context, provider: Provider, content: StagedContent) -> str:
    """Delete what still is a leftover; returns why it was left, and nothing when it is gone.

    Ended jobs forget first that it was there, so that a retry stages it again.
    """
    assert isinstance(provider, Stages)
    if any(
        job.ended_at is None and job.staged is None and job.provider == provider.name for job in context.store.jobs()
    ):
        return "a job is being staged there"
    if not _unneeded(context, provider, [content]) or not _forgotten(context, provider, content):
        return "a job has come that wants it"
    provider.discard(content)
    return ""


def _unneeded(context: Context, provider: Provider, contents: Sequence[StagedContent]) -> list[StagedContent]:
    before = context.clock.now() - KEPT
    old = [one for one in contents if one.created_at < before]
    if not old:
        return []
    known: set[str | None] = set()
    wanted: set[str | None] = set()
    for job in context.store.jobs():
        names = set(_names(context, job, provider))
        known |= names
        wanted |= names if _is_wanted(job, before) else set()
    return [one for one in old if _is_ours(context, one, known) and not {one.id, one.sha256} & wanted]


def _is_wanted(job: JobRow, before: datetime) -> bool:
    return job.ended_at is None or job.ended_at >= before


def _is_ours(context: Context, content: StagedContent, known: set[str | None]) -> bool:
    mark = mark_in(content.name)
    return mark == context.installation if mark else bool({content.id, content.sha256} & known)


def _names(context: Context, job: JobRow, provider: Provider) -> Iterator[str]:
    """By which names a job may mean content: what `stage` told, and the hashes that its plan tells."""
    if job.provider == provider.name:
        yield from _staged_names(job)
    with suppress(StoreError):  # the plan of another version: what was staged is named above
        yield from hashes_of(context.plan(job))


def _staged_names(job: JobRow) -> Sequence[str]:
    if job.staged is None:
        return ()
    staged, _ = staged_value(job.staged)
    return (staged.bundle_sha256, *staged.detail.values())


def _forgotten(context: Context, provider: Provider, content: StagedContent) -> bool:
    """No job says any more that the content is staged. False: one that is open or recent has come to name it."""
    before = context.clock.now() - KEPT

    def change(tx: Transaction) -> bool:
        jobs = [job for job in tx.many(JobRow, sql.JOBS) if job.provider == provider.name]
        naming = [job for job in jobs if {content.id, content.sha256} & set(_staged_names(job))]
        if any(_is_wanted(job, before) for job in naming):
            return False
        return all(tx.update_job(job, staged=None) for job in naming)

    return context.store.write(change)
