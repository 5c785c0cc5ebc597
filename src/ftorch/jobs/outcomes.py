"""How work in a thread ends: its outcome for the meter, its words for the log and for the row that it was about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import structlog

from ftorch.core.errors import CredentialsError, FtorchError, ProviderUnavailableError, RateLimitedError, StoreError
from ftorch.jobs.context import Context
from ftorch.jobs.decide import FETCH_TRIES
from ftorch.jobs.meter import BUG, OK
from ftorch.jobs.states import Step, StepKind
from ftorch.store import JobRow

log = structlog.get_logger()


class SlowsDown(Protocol):
    """What holds a provider's calls back for a while."""

    def slow_down(self, lane: str, pause_s: float) -> None: ...


Told = Callable[[str, timedelta, bool], None]
"""Is given what went wrong in words, how long the provider has asked to wait, and whether it may pass by itself."""
_MAY_PASS = (ProviderUnavailableError, RateLimitedError, CredentialsError, StoreError)


def _nobody(_words: str, _pause: timedelta, _may_pass: bool) -> None:
    pass


def outcome_of(
    what: str, call: Callable[[], object], provider: str, lanes: SlowsDown, tell: Told = _nobody, **about: str
) -> str:
    """Do it; whatever it raises is logged and told, never raised: other jobs and other providers go on."""
    try:
        call()
    except FtorchError as error:
        log.warning(f"{what} failed", code=error.code, error=error.message, **about)
        if isinstance(error, RateLimitedError):
            lanes.slow_down(provider, error.retry_after_s)
        _try_to_tell(tell, words_of(error), _asked_pause(error), isinstance(error, _MAY_PASS))
        return error.code
    except Exception:  # the outer edge: the traceback is in the log
        log.exception(f"{what} raised", **about)
        _try_to_tell(tell, "a bug in ftorch; see the daemon's log", timedelta(0), False)
        return BUG
    return OK


def _try_to_tell(tell: Told, words: str, pause: timedelta, may_pass: bool) -> None:
    try:
        tell(words, pause, may_pass)
    except Exception:  # the outer edge: often it is the database that fails, and then nothing can be noted in it
        log.exception("a failure could not be noted")


def note_failure(context: Context, job: JobRow, step: Step, words: str, pause: timedelta, may_pass: bool) -> None:
    """Note what went wrong where people look, and come back later: each time a little later.

    Not before the pause that the provider has asked for. Only a fetch that brought nothing good counts against the
    adapter; a provider that is down will be up again.
    """
    soonest = context.clock.now() + pause
    run = context.store.run(step.run.key) if step.run else None
    if run is not None:
        next_at = max(context.later(run.failures), soonest)
        bad_fetches = run.bad_fetches + (step.kind is StepKind.FETCH and not may_pass)
        changes = {"failures": run.failures + 1, "bad_fetches": bad_fetches, "next_at": next_at}
        context.change_run(run, f"{step.kind} failed", words, **changes)
        if bad_fetches >= FETCH_TRIES > run.bad_fetches:
            log.error("the adapter could not be fetched", job=job.id, run=run.key)
        return
    read = context.store.job(job.id)
    if read is not None:
        next_at = max(context.later(read.failures), soonest)
        context.change_job(
            read, f"{step.kind} failed", words, detail=words, failures=read.failures + 1, next_at=next_at
        )


def words_of(error: FtorchError) -> str:
    """The error as a row keeps it."""
    if isinstance(error, RateLimitedError):
        return f"{error.message}; asked to wait {error.retry_after_s:.0f} s"
    return f"{error.message}\nhint: {error.hint}" if error.hint else error.message


def _asked_pause(error: FtorchError) -> timedelta:
    return timedelta(seconds=error.retry_after_s) if isinstance(error, RateLimitedError) else timedelta(0)
