"""Work under way: a lane per provider, paced by its token bucket, and pools of threads.

Two works with one key never run at once. Cancels, releases and observations have threads of their own, so that slow
stages and fetches never hold up what stops money. A create may block for 21 minutes, as Modal's do: each provider has
threads for its own, so that they hold up neither another provider nor anything else.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

_SLOWEST = 1 / 16
_FASTER_AFTER_S = 60.0
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 900.0

Pool = Callable[[int, str], Executor]
"""Makes a pool of so many threads with such names."""


class Bucket:
    """Tokens for requests: so many a second, as many as one second gives at once. Halved by a 429, doubled again later.

    Not thread-safe: the lanes hold their lock.
    """

    def __init__(self, per_second: float, now_s: float) -> None:
        self._full_rate = per_second
        self._rate = per_second
        self._tokens = max(1.0, per_second)
        self._at_s = now_s
        self._closed_until_s = now_s
        self._slowed_s = now_s

    def take(self, count: float, now_s: float) -> bool:
        """Take tokens for one work. A work that costs more than a full bucket waits for a full one."""
        self._fill(now_s)
        most = max(1.0, self._rate)
        if self.is_closed(now_s) or self._tokens < min(count, most):
            return False
        self._tokens -= count
        return True

    def wait_s(self, count: float, now_s: float) -> float:
        """Seconds until so many tokens are there."""
        missing = max(0.0, min(count, max(1.0, self._rate)) - self._tokens)
        return max(self._closed_until_s - now_s, missing / self._rate)

    def is_closed(self, now_s: float) -> bool:
        """The pause that the provider has asked for is not over."""
        return now_s < self._closed_until_s

    def slow_down(self, pause_s: float, now_s: float) -> None:
        """The provider has said that it is too much: nothing before its pause, half as much after it."""
        # The work that was refused waits as long as it was told to; cancels of other runs cannot wait for a day.
        pause_s = min(max(pause_s, _PAUSE_S), _LONGEST_PAUSE_S)
        self._closed_until_s = max(self._closed_until_s, now_s + pause_s)
        self._rate = max(self._rate / 2, self._full_rate * _SLOWEST)
        # No tokens come together during the pause: after it goes one call, not all that have waited.
        self._tokens, self._at_s = min(self._tokens, 1.0), self._closed_until_s
        self._slowed_s = now_s

    def _fill(self, now_s: float) -> None:
        if self._rate < self._full_rate and now_s - self._slowed_s >= _FASTER_AFTER_S:
            self._rate, self._slowed_s = min(self._full_rate, self._rate * 2), now_s
        self._tokens = min(max(1.0, self._rate), self._tokens + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = max(self._at_s, now_s)


class Threads(StrEnum):
    """Who does a work."""

    STEPS = "step"
    URGENT = "urgent"
    CREATES = "create"
    FINDS = "find"
    """What was looked for and is not there is created at once, in the same thread."""


_WORKERS: Mapping[Threads, int] = {Threads.STEPS: 8, Threads.URGENT: 8, Threads.CREATES: 12, Threads.FINDS: 4}
_OF_ONE_PROVIDER = frozenset({Threads.CREATES, Threads.FINDS})
_GO_FIRST = frozenset({Threads.URGENT, Threads.FINDS})


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do: `lane` is the provider that it asks, `cost` how many requests it takes, about."""

    key: str
    lane: str
    call: Callable[[], None]
    cost: float = 1.0
    threads: Threads = Threads.STEPS


class Lanes:
    """Takes works, starts what the buckets allow, and remembers which have ended."""

    def __init__(
        self, boot_s: Callable[[], float], per_second: Callable[[str], float], pool: Pool = ThreadPoolExecutor
    ) -> None:
        self._boot_s = boot_s
        self._per_second = per_second
        self._pool = pool
        self._pools: dict[tuple[Threads, str], Executor] = {}
        self._waiting: dict[str, deque[Work]] = defaultdict(deque)
        self._buckets: dict[str, Bucket] = {}
        self._busy: set[str] = set()
        self._ended: set[str] = set()
        self._running = 0
        self._lock = threading.Lock()
        self.progressed = threading.Event()
        """Set whenever a work has ended: there may be more to do at once."""

    @property
    def under_way(self) -> int:
        """Works that wait or run."""
        with self._lock:
            return len(self._busy)

    @property
    def in_threads(self) -> int:
        """Works that run, or wait for nothing but a thread."""
        with self._lock:
            return len(self._busy) - sum(map(len, self._waiting.values()))

    @property
    def waiting(self) -> int:
        """Works that no thread has begun: what the buckets hold back, and what waits for a thread."""
        with self._lock:
            return len(self._busy) - self._running

    def add(self, work: Work) -> bool:
        """Queue a work, unless one with its key is under way."""
        with self._lock:
            if work.key in self._busy:
                return False
            self._busy.add(work.key)
            queue = self._waiting[work.lane]
            if work.threads in _GO_FIRST:
                queue.appendleft(work)
            else:
                queue.append(work)
            return True

    def start_due(self) -> float | None:
        """Start what the buckets allow; returns the seconds until more can start, None when nothing waits."""
        due: list[Work] = []
        with self._lock:
            now_s = self._boot_s()
            waits = [self._take_due(lane, queue, now_s, due) for lane, queue in self._waiting.items() if queue]
        for work in due:
            self._threads_of(work).submit(self._run, work)
        return min((wait for wait in waits if wait is not None), default=None)

    def slow_down(self, lane: str, pause_s: float) -> None:
        """Hold a lane back for as long as its provider has asked."""
        with self._lock:
            self._bucket(lane).slow_down(pause_s, self._boot_s())

    def take_ended(self) -> set[str]:
        """The keys of works that have ended since the last call."""
        with self._lock:
            ended, self._ended = self._ended, set()
            return ended

    def close(self) -> None:
        """Wait for what runs; what waits for a token is dropped."""
        with self._lock:
            for queue in self._waiting.values():
                self._busy -= {work.key for work in queue}
                queue.clear()
        for threads in self._pools.values():
            threads.shutdown(wait=True)

    def halt(self) -> None:
        """Begin nothing more, and wait for nothing: the process is about to end."""
        for threads in self._pools.values():
            threads.shutdown(wait=False, cancel_futures=True)

    def _threads_of(self, work: Work) -> Executor:
        """Made when they are needed: most installations use one provider or two."""
        whose = (work.threads, work.lane if work.threads in _OF_ONE_PROVIDER else "")
        if whose not in self._pools:
            self._pools[whose] = self._pool(_WORKERS[work.threads], f"ftorch-{work.threads}")
        return self._pools[whose]

    def _take_due(self, lane: str, queue: deque[Work], now_s: float, due: list[Work]) -> float | None:
        bucket = self._bucket(lane)
        while queue:
            if not bucket.take(queue[0].cost, now_s):
                return bucket.wait_s(queue[0].cost, now_s)
            due.append(queue.popleft())
        return None

    def _bucket(self, lane: str) -> Bucket:
        if lane not in self._buckets:
            self._buckets[lane] = Bucket(self._per_second(lane), self._boot_s())
        return self._buckets[lane]

    def _run(self, work: Work) -> None:
        with self._lock:
            if work.cost and self._bucket(work.lane).is_closed(self._boot_s()):
                # It had its token and waited for a thread; since then the provider has asked everybody for a pause.
                self._waiting[work.lane].appendleft(work)
                return
            self._running += 1
        try:
            work.call()
        finally:
            # Together: whoever sees that nothing is under way also sees that there may be more to do.
            with self._lock:
                self._running -= 1
                self._busy.discard(work.key)
                self._ended.add(work.key)
                self.progressed.set()
