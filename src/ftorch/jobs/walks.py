"""Looking at the world: one batched reading of a provider's open runs when it is due, a sweep for strays, the bills."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from structlog.contextvars import bound_contextvars

from ftorch.core.errors import CredentialsError, FtorchError
from ftorch.jobs import advance, submit
from ftorch.jobs.billing.pull import pull
from ftorch.jobs.context import Context
from ftorch.jobs.lanes import Lanes, Threads, Work
from ftorch.jobs.meter import Meter
from ftorch.jobs.outcomes import outcome_of, words_of
from ftorch.jobs.pace import Pace
from ftorch.jobs.reap import SWEEP_EVERY_S, providers_used, sweep
from ftorch.jobs.rights import Rights
from ftorch.store import RunRow

_OBSERVE = "observe"
_LOOK_FOR_PROVIDERS_S = 60.0
PULL_EVERY_S = 6 * 3600.0
"""Bills grow by the hour, and settle in days."""


class Walks:
    """Starts walks, sweeps and bills where this process leads. Only the engine's thread calls `start_*`."""

    def __init__(self, context: Context, lanes: Lanes, rights: Rights, meter: Meter) -> None:
        self._context = context
        self._lanes = lanes
        self._rights = rights
        self._meter = meter
        self._paces: dict[str, Pace] = {}
        self._swept_s: dict[str, float] = {}
        self._sweep_due_s = float("-inf")
        self._pull_due_s = context.clock.boot_s() + PULL_EVERY_S
        self._random = random.Random()  # noqa: S311  jitter, not a secret

    def start_walks(self, runs: Iterable[RunRow]) -> float | None:
        """Start one batched reading per provider that is due; returns the seconds until the next one."""
        open_runs: dict[str, list[RunRow]] = defaultdict(list)
        for run in runs:
            if run.ended_at is None and run.state is not None:
                open_runs[run.provider].append(run)
        for gone in self._paces.keys() - open_runs.keys():
            del self._paces[gone]
        now_s = self._context.clock.boot_s()
        waits = [
            self._start_walk(name, its_runs, now_s)
            for name, its_runs in open_runs.items()
            if self._can_open(name) and self._rights.leads(name)
        ]
        return min(waits, default=None)

    def start_sweeps(self) -> None:
        """At the start and every ten minutes: look where we ever ran something for runs without an open row."""
        now_s = self._context.clock.boot_s()
        if now_s < self._sweep_due_s:
            return
        self._sweep_due_s = now_s + _LOOK_FOR_PROVIDERS_S
        for name in filter(self._can_open, providers_used(self._context)):
            is_due = now_s - self._swept_s.get(name, float("-inf")) >= SWEEP_EVERY_S
            if is_due and self._rights.leads(name):
                self._swept_s[name] = now_s
                self._lanes.add(Work(f"/sweep {name}", name, partial(self._sweep, name)))

    def start_bills(self) -> None:
        """Every six hours, the first time six hours after the start: a daemon for one job leaves bills to a person."""
        now_s = self._context.clock.boot_s()
        if now_s < self._pull_due_s:
            return
        self._pull_due_s = now_s + PULL_EVERY_S
        for name in filter(self._can_open, providers_used(self._context)):
            if self._rights.leads(name):
                self._lanes.add(Work(f"/bill {name}", name, partial(self._pull, name)))

    def _start_walk(self, name: str, runs: Sequence[RunRow], now_s: float) -> float:
        capabilities = self._context.open_provider(name).capabilities
        if name not in self._paces:
            self._paces[name] = Pace(capabilities.min_poll_s, self._random)
        pace = self._paces[name]
        if any(run.observed_at is None for run in runs):
            pace.ended(had_news=True)
        if pace.due_s <= now_s:
            pages = 1 + len(runs) // capabilities.list_page_size if capabilities.list_page_size else 1
            call = partial(self._walk, name, list(runs), pace)
            if self._lanes.add(Work(f"/observe {name}", name, call, cost=pages, threads=Threads.URGENT)):
                pace.started(now_s)
        return pace.due_s - now_s

    def _walk(self, name: str, runs: Sequence[RunRow], pace: Pace) -> None:
        with bound_contextvars(provider=name):
            outcome = outcome_of("walk", partial(self._observe, name, runs, pace), name, self._lanes)
            self._meter.step(_OBSERVE, outcome)

    def _observe(self, name: str, runs: Sequence[RunRow], pace: Pace) -> None:
        began_s = time.thread_time()
        if ours := [run for run in runs if self._is_ours(run)]:
            had_news = advance.observe(self._context, self._context.open_provider(name), ours)
            pace.ended(had_news=had_news, cpu_s=time.thread_time() - began_s)
            submit.prove_search(self._context, ours)

    def _sweep(self, name: str) -> None:
        with bound_contextvars(provider=name):
            outcome_of("sweep", lambda: sweep(self._context, self._context.open_provider(name)), name, self._lanes)

    def _pull(self, name: str) -> None:
        with bound_contextvars(provider=name):
            outcome_of("bill", lambda: pull(self._context, [name], is_asked=True), name, self._lanes)

    def _is_ours(self, run: RunRow) -> bool:
        """The credentials see the run; where they do not, its row says so, unless another daemon's do."""
        if not self._rights.leads(run.provider, run.account):
            return False
        try:
            self._context.check_account(run)
        except CredentialsError as error:
            if run.detail != words_of(error):
                self._context.change_run(run, "waits", words_of(error), detail=words_of(error))
            return False
        return True

    def _can_open(self, provider: str) -> bool:
        try:
            self._context.open_provider(provider)
        except FtorchError:
            return False
        return True
