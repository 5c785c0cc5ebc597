"""Every held-out question asked of an endpoint once: within a limit of money, by a bounded number of threads.

Whatever cuts it short (an error, Ctrl-C, a kill, the end of the money), asking again goes on where it ended.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from ftorch.core.clock import Clock
from ftorch.core.errors import BudgetError
from ftorch.core.money import Money, exact
from ftorch.jobs.endpoint.answers import Answer
from ftorch.jobs.endpoint.cache import Answered, Cache, Refused, Sent
from ftorch.jobs.endpoint.exchange import Exchange, FailedError
from ftorch.jobs.endpoint.purse import NOTHING, EmptyError, Purse
from ftorch.jobs.endpoint.terms import Endpoint, Question

_LOST_CALLS = 1
"""How many calls that may have been paid for may be made again, for one question in one pass."""
_LONGEST_PAUSE_S = 60.0
_LEAST_PAUSE_S = 1.0
_SLICE_S = 1.0

Progress = Callable[[int, int], None]
"""Told the rows that have an answer, and all rows; called in the thread that asked."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Paid:
    """What one question has cost at an endpoint so far, in all passes; `call` names it, whoever asks.

    None is unknown: nobody named a price, or the endpoint told no usage.
    """

    call: str
    cost: Money | None
    answered_at: datetime | None
    lost_calls: int
    lost_cost: Money | None
    """The most that the lost calls may have cost."""


def ask_all(
    endpoint: Endpoint,
    questions: Sequence[Question],
    *,
    cache: Path,
    limit: Money | None,
    clock: Clock,
    progress: Progress,
) -> Sequence[Mapping[str, Any]]:
    """One score row per question, in order. A question that has an answer in `cache` is not asked again.

    `limit` is what this pass may spend, whatever earlier ones did: `paid` tells the books about those. A call whose
    answer was lost counts at its worst case, and is made once more. Raises BudgetError, CredentialsError,
    ProviderError, StoreError; what was answered until then is kept, and calls under way are waited for.
    """
    calls = [endpoint.call_id(question.messages) for question in questions]
    with Cache(cache, endpoint) as kept:
        missing: dict[str, Question] = {}
        for call, question in zip(calls, questions, strict=True):
            if call not in kept.answers:
                missing.setdefault(call, question)
        _ask(endpoint, missing, Counter(calls), kept=kept, limit=limit, clock=clock, progress=progress)
        return list(_rows(questions, calls, kept, set(missing)))


def paid(endpoint: Endpoint, questions: Sequence[Question], *, cache: Path) -> Sequence[Paid]:
    """What these questions have cost so far, one line per different question that was ever sent. Asks nobody.

    The same after an error or a kill as after a pass that came to its end: for the books, under `call`.
    """
    kept = Cache(cache, endpoint)
    calls = dict.fromkeys(endpoint.call_id(question.messages) for question in questions)
    return [_paid(kept, call) for call in calls if call in kept.answers or kept.lost(call)]


def _ask(
    endpoint: Endpoint,
    missing: Mapping[str, Question],
    rows: Counter[str],
    *,
    kept: Cache,
    limit: Money | None,
    clock: Clock,
    progress: Progress,
) -> None:
    """Ask what is missing. `rows` counts the rows that have the same question."""
    if missing and limit is not None and endpoint.price is None:
        raise BudgetError(
            f"the budget leaves {limit}, but nobody names a price for {endpoint.model}, so it cannot be held",
            hint="give lifetime.hosted a price with its source, or leave budget out",
        )
    answered = sum(count for call, count in rows.items() if call not in missing)

    def told(call: str | None = None) -> None:
        nonlocal answered
        answered += rows[call] if call else 0
        progress(answered, rows.total())

    told()
    if not missing:
        return
    purse = Purse(limit)
    with Exchange(endpoint, clock) as exchange:
        try:
            _Pass(endpoint, kept, exchange, purse, clock).run(missing, told)
        except EmptyError as empty:
            raise _used_up(endpoint, purse, empty.worst, rows, kept) from empty


class _Pass:
    """One pass over the questions without an answer: what its threads share."""

    def __init__(self, endpoint: Endpoint, kept: Cache, exchange: Exchange, purse: Purse, clock: Clock) -> None:
        self._endpoint = endpoint
        self._kept = kept
        self._exchange = exchange
        self._purse = purse
        self._clock = clock
        self._stopping = threading.Event()

    def run(self, missing: Mapping[str, Question], told: Callable[[str], None]) -> None:
        """Returns when all are answered; raises the failure of the first question that failed, in their order."""
        pool = ThreadPoolExecutor(self._endpoint.concurrency, thread_name_prefix="ftorch-endpoint")
        futures: dict[Future[None], str] = {}
        try:
            futures |= {pool.submit(self._answer, call, question): call for call, question in missing.items()}
            for future in as_completed(futures):
                if future.exception():
                    break
                told(futures[future])
        finally:
            # Calls under way are paid for: their answers are waited for and kept.
            self._stopping.set()
            pool.shutdown(cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _answer(self, call: str, question: Question) -> None:
        try:
            self._tried(call, question)
        except BaseException:
            self._stopping.set()
            raise

    def _tried(self, call: str, question: Question) -> None:
        patience = _Patience()
        while not self._stopping.is_set():
            try:
                self._once(call, question)
            except FailedError as failed:
                pause_s = patience.pause_s(failed)
                log.warning(
                    "asking again",
                    model=self._endpoint.model,
                    row=question.row,
                    pause_s=pause_s,
                    may_be_paid=failed.may_be_paid,
                )
                self._wait(pause_s)
            else:
                return

    def _once(self, call: str, question: Question) -> None:
        worst = self._endpoint.worst_case(question.messages)
        with self._purse.hold(worst or NOTHING) as hold:
            if self._stopping.is_set():
                hold.cost = NOTHING
                return
            self._kept.add(Sent(call=call, worst_case=worst.amount if worst else None))
            try:
                start = self._clock.boot_s()
                answer = self._exchange.ask(question)
                latency_s = self._clock.boot_s() - start
            except FailedError as failed:
                if not failed.may_be_paid:
                    hold.cost = NOTHING
                    self._kept.add(Refused(call=call))
                raise
            cost = self._endpoint.cost(answer.prompt_tokens, answer.output_tokens)
            if cost is not None:
                hold.cost = cost
            self._kept.add(_answered(call, answer, cost, latency_s, self._clock.now()))

    def _wait(self, seconds: float) -> None:
        """Sleep, and look up every second: who has stopped everything should not wait minutes for it."""
        while seconds > 0 and not self._stopping.is_set():
            self._clock.sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S


@dataclass(slots=True)
class _Patience:
    """How often and how long one question was tried."""

    tries: int = 0
    lost: int = 0
    waited_s: float = 0.0

    def pause_s(self, failed: FailedError) -> float:
        """The pause before the next try. Raises the failure's error when there should be none."""
        backoff_s = min(2.0**self.tries, _LONGEST_PAUSE_S)
        pause_s = backoff_s if failed.pause_s is None else max(failed.pause_s, _LEAST_PAUSE_S)
        self.tries += 1
        self.lost += failed.may_be_paid
        self.waited_s += pause_s
        if failed.patience_s is None or self.lost > _LOST_CALLS or self.waited_s > failed.patience_s:
            raise failed.error from failed.__cause__
        return pause_s


def _answered(call: str, answer: Answer, cost: Money | None, latency_s: float, at: datetime) -> Answered:
    return Answered(
        call=call,
        output=answer.output,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        is_truncated=answer.is_truncated,
        note=answer.note,
        latency_ms=round(latency_s * 1000, 3),
        cost=cost.amount if cost else None,
        at=at,
    )


def _rows(
    questions: Sequence[Question], calls: Sequence[str], kept: Cache, fresh: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Rows with the same question share one answer: the first has its cost, to the others it is a cached one."""
    told: set[str] = set()
    for call, question in zip(calls, questions, strict=True):
        yield _row(question, kept.answers[call]) | {
            "cached": call in told or call not in fresh,
            "lost_calls": 0 if call in told else len(kept.lost(call)),
        }
        told.add(call)


def _row(question: Question, answer: Answered) -> dict[str, Any]:
    return {
        "row": question.row,
        "row_sha256": question.row_sha256,
        "output": answer.output,
        "reference": question.reference,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
        "latency_ms": answer.latency_ms,
        "cost": None if answer.cost is None else exact(answer.cost),
        "truncated": answer.is_truncated,
        "note": answer.note,
        "call": answer.call,
    }


def _paid(kept: Cache, call: str) -> Paid:
    answer, lost = kept.answers.get(call), kept.lost(call)
    known = [cost for cost in lost if cost is not None]
    return Paid(
        call=call,
        cost=Money(answer.cost) if answer and answer.cost is not None else None,
        answered_at=answer.at if answer else None,
        lost_calls=len(lost),
        lost_cost=Money(sum(known, Decimal(0))) if len(known) == len(lost) else None,
    )


def _used_up(endpoint: Endpoint, purse: Purse, worst: Money, rows: Counter[str], kept: Cache) -> BudgetError:
    answered = sum(count for call, count in rows.items() if call in kept.answers)
    return BudgetError(
        f"{endpoint.model} has answered {answered} of {rows.total()} rows: {purse.spent} is spent of the "
        f"{purse.limit} that the budget leaves, and the next answer may cost {worst}",
        hint="raise budget.limit, then ask again: every answer so far is kept and not paid for twice",
    )
