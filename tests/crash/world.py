"""A world in which the engine dies at any commit or request and is born again: one job, one cloud, one store.

Everything runs in one thread, so that a death comes at the same boundary in every repetition. A death is an
exception that nobody catches: what the process held in memory goes with it, commits and what the cloud has done stay.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from ftorch.core.clock import Clock, ManualClock, Reading
from ftorch.core.errors import ProviderUnavailableError, RateLimitedError
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem
from ftorch.jobs.admit import ask_cancel
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.jobs.rights import Shared
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Budget, RetryEvent
from ftorch.providers.base import (
    Account,
    Artifact,
    Bundle,
    Capabilities,
    Find,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
)
from ftorch.store import LedgerRow, RunRow, SqliteStore, Store, Transaction, open_store
from unit.jobs.cloud import NAME, RATE, TRAINING, Cloud, CloudProvider, FastClock, Remote
from unit.jobs.desk import Desk
from unit.plans import plan

T = TypeVar("T")

INSTALLATION = "abc123"
_STEP_S = 7.0
_HALF_WAY_S = TRAINING.total_seconds() / 2
_SETTLED_AFTER_S = 3600.0


class Kind(StrEnum):
    """How a provider lets its runs be found."""

    CLIENT_ID = "client id"
    TAG = "tag only"
    LIST = "list only"


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fate:
    """Counts the boundaries that a life passes, and ends it at those that are named."""

    deaths: Collection[int] = ()
    trouble: Callable[[str], Exception | None] = lambda _request: None
    """What a request fails with, if it does."""
    passed: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)

    is_asleep: bool = False

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Boundaries in the block do not count."""
        self.is_asleep = True
        yield
        self.is_asleep = False

    def boundary(self, name: str) -> None:
        """A commit or a request begins or has ended."""
        if self.is_asleep:
            return
        self.passed.append(name)
        if len(self.passed) in self.deaths:
            self.met.append(name)
            raise Killed(name)


def weather(seed: int) -> Fate:
    """A seeded fate: one to three deaths, and one read in twelve fails, sometimes with a pause asked for."""
    chance = random.Random(seed)

    def trouble(request: str) -> Exception | None:
        if request in ("submit", "charges") or chance.random() > 1 / 12:
            return None
        words = f"the cloud is in a bad mood at {request}"
        if chance.random() < 1 / 3:
            return RateLimitedError(words, provider=NAME, operation=request, retry_after_s=chance.choice([1.0, 30.0]))
        return ProviderUnavailableError(words, provider=NAME, operation=request)

    deaths = {chance.randint(1, 90) for _ in range(chance.randint(1, 3))}
    return Fate(deaths, trouble)


def accidents(seed: int) -> list[str]:
    """What happens to the job's creates, in order; at most one of them is lost before it arrives."""
    chance = random.Random(seed * 7919 + 1)
    some = ["lost after create", "lost before create", "unreachable", "no capacity", "", "", ""]
    return chance.sample(some, k=2)


class Inline(Executor):
    """A pool that does the work at once, in the thread that asks."""

    def __init__(self, _workers: int = 1, _name: str = "") -> None:
        super().__init__()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        fn(*args, **kwargs)
        return Future()


def at_once(call: Callable[[], None]) -> None:
    """Instead of a thread."""
    call()


def mortal(store: Store, fate: Fate) -> Store:
    """The same store, whose commits are boundaries from now on."""

    def write(change: Callable[[Transaction], T]) -> T:
        fate.boundary("commit begins")
        result = type(store).write(store, change)
        fate.boundary("commit has ended")
        return result

    store.write = write  # type: ignore[method-assign]  # until the next fate comes
    return store


class Ground:
    """What outlives every process: the database."""

    daemons: int = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, _daemon: int) -> Store:
        """The database as a daemon that has just been born opens it."""
        return SqliteStore.open(self._folder / "ftorch.db")

    def dies(self, _daemon: int, store: Store) -> None:
        """The process is gone, and so are its connections."""
        store.close()

    def rights(self, _store: Store, _clock: Clock, _owner: str) -> Shared | None:
        """None: one daemon leads everything."""
        return None


class SharedGround(Ground):
    """PostgreSQL under three daemons. Connections outlive a death here, for the server would only see them replaced."""

    daemons = 3

    def __init__(self, url: str) -> None:
        self._stores = [open_store(url) for _ in range(self.daemons)]

    def open(self, daemon: int) -> Store:
        return self._stores[daemon]

    def dies(self, daemon: int, store: Store) -> None:
        """Its leases end: what would take their time, and is another test's."""
        store = self._stores[(daemon + 1) % self.daemons]
        type(store).write(store, lambda tx: tx.run(f"UPDATE leases SET expires_at = 0 WHERE owner = 'daemon {daemon}'"))

    def rights(self, store: Store, clock: Clock, owner: str) -> Shared:
        return Shared(store, clock, owner, lambda _provider: "acct", ttl=timedelta(hours=1), begin=at_once)

    def close(self) -> None:
        """Give the connections back."""
        for store in self._stores:
            store.close()


class MortalProvider(CloudProvider):
    """A provider whose requests are boundaries, of one of the three kinds."""

    def __init__(self, cloud: Cloud, kind: Kind, fate: Fate, *, can_find: bool = True) -> None:
        super().__init__(cloud)
        self._kind = kind
        self._fate = fate
        self._can_find = can_find
        self.capabilities: Capabilities = replace(  # type: ignore[misc]  # of this kind, not of the class
            CloudProvider.capabilities,
            client_chosen_id=kind is Kind.CLIENT_ID,
            find=Find.TAG if kind is Kind.TAG else Find.LIST,
            visibility_lag_s=10.0 if kind is Kind.LIST else 0.0,
        )

    def check(self) -> Account:
        return self._asked("check", super().check)

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        return self._asked("stage", lambda: CloudProvider.stage(self, plan, bundle))

    def placements(self, plan: Plan) -> Sequence[Placement]:
        return self._asked("placements", lambda: CloudProvider.placements(self, plan))

    def submit(self, order: RunOrder) -> RunRef:
        return self._asked("submit", lambda: self._create(order))

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        return self._asked("find", lambda: self._seen(CloudProvider.find(self, keys)))

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        return self._asked("observe", lambda: CloudProvider.observe(self, refs))

    def cancel(self, ref: RunRef) -> None:
        return self._asked("cancel", lambda: CloudProvider.cancel(self, ref))

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        return self._asked("fetch", lambda: CloudProvider.fetch(self, ref, dest))

    def release(self, ref: RunRef) -> bool:
        return self._asked("release", lambda: CloudProvider.release(self, ref))

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        return self._asked("charges", lambda: CloudProvider.charges(self, ref, history))

    def _asked(self, name: str, call: Callable[[], T]) -> T:
        self._fate.boundary(f"{name} asked")
        if (error := self._fate.trouble(name)) is not None:
            raise error
        result = call()
        self._fate.boundary(f"{name} answered")
        return result

    def _create(self, order: RunOrder) -> RunRef:
        known = [run for run in self._cloud.runs if run.key == order.key]
        if known and self._kind is Kind.CLIENT_ID:
            return self._ref(known[0])
        return CloudProvider.submit(self, order)

    def _seen(self, found: Mapping[str, Sequence[RunRef]]) -> Mapping[str, Sequence[RunRef]]:
        """What a search sees: a list shows a run some seconds after it was made; a broken search shows nothing."""
        if not self._can_find:
            return {}
        visible = {
            run.id
            for run in self._cloud.runs
            if self._kind is not Kind.LIST or self._cloud.clock.now() >= run.created_at + timedelta(seconds=9)
        }
        seen = {key: [ref for ref in refs if ref.remote_id in visible] for key, refs in found.items()}
        return {key: refs for key, refs in seen.items() if refs}


@dataclass
class World:
    """One job from submit to settlement, in as many lives as it takes."""

    folder: Path
    kind: Kind
    fate: Fate
    can_find: bool = True
    accidents: Sequence[str] = ()
    preempt: bool = False
    """The first run is taken away in the middle."""
    cancel: bool = False
    """A person cancels the job in the middle."""
    limit: Money | None = None
    """The job's budget."""
    speed: float = 1.0
    """How fast the cloud's clock goes against ours."""
    away_s: float = 0.0
    """How long nobody is there after a death."""
    ground: Ground | None = None
    """A fresh SQLite file when not given."""
    lives: int = 1
    outcome: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ground = self.ground or Ground(self.folder)
        self.clock = ManualClock()
        self.cloud = Cloud(FastClock(self.clock, self.speed))
        self.cloud.faults = list(self.accidents)
        # Worlds that share a database share the cloud's account too: no two of its runs have one name.
        self.cloud.prefix = f"{secrets.token_hex(6)}-"

    def live(self) -> None:
        """Submit the job and live until it is settled, again after every death."""
        assert self.ground is not None
        quiet, self.fate = self.fate, Fate()
        desk, _ = self._born(0)
        desk.context.store.write(lambda tx: tx.put_meta(f"mark/{NAME}/acct", "ft-abc123-earlier"))
        budget = Budget(limit=self.limit) if self.limit else None
        self.job = desk.submit(plan(providers=(NAME,), budget=budget))
        self.ground.dies(0, desk.context.store)
        self.fate = quiet
        daemons = [self._born(number) for number in range(self.ground.daemons)]
        for turn in range(12_000):
            number = turn % len(daemons)
            try:
                if self._turn(*daemons[number]):
                    break
            except Killed:
                self.lives += 1
                self.ground.dies(number, daemons[number][0].context.store)
                # A new process reads the rows; it takes over at once, or a while later.
                self.clock.advance(self.away_s or 3.0 * (self.lives % 5))
                daemons[number] = self._born(number)
        else:
            raise AssertionError(f"the job does not end: {daemons[0][0].job(self.job)}")
        self._remember(daemons[0][0].context.store)
        for number, (desk, rights) in enumerate(daemons):
            vars(desk.context.store).pop("write", None)
            if rights is not None:
                rights.close()
            self.ground.dies(number, desk.context.store)

    def _remember(self, store: Store) -> None:
        self.rows = store.job(self.job), store.runs_of(self.job), store.ledger_of(self.job)

    def faults(self) -> list[str]:
        """What is wrong at the end: empty when each run was paid once, booked once and left nothing behind."""
        job, runs, ledger = self.rows
        assert job is not None
        self.outcome = job.state
        if job.state == "unknown":
            return self._faults_of_unknown(runs, ledger)
        owed = Counter({run.id: _cost(run) for run in self.cloud.runs})
        booked: Counter[str] = Counter()
        for entry in ledger:
            booked[entry.source_ref.partition("/")[0]] += entry.amount_micro
        per_key = Counter(run.key for run in self.cloud.runs)
        return [
            *(f"job {job.state}: {job.reason}" for _ in [0] if job.state not in self._wanted),
            *(f"{count} runs under {key}" for key, count in per_key.items() if count > 1),
            *(f"{run.id} is left running" for run in self.cloud.runs if run.ended_at is None or not run.released),
            *(f"{one}: owed {owed[one]}, booked {booked[one]}" for one in owed | booked if owed[one] != booked[one]),
            *(f"{run.key} holds {run.hold_micro}" for run in runs if run.hold_micro or run.settled_at is None),
            *(f"{len(ledger)} entries for {len(owed)} runs" for _ in [0] if len(ledger) != len(owed)),
        ]

    def spent(self) -> Money:
        """What the cloud wants for all its runs."""
        return Money.from_micro(sum(_cost(run) for run in self.cloud.runs))

    def booked(self) -> Money:
        """What the ledger has."""
        return Money.from_micro(sum(entry.amount_micro for entry in self.rows[2]))

    def _faults_of_unknown(self, runs: Sequence[RunRow], ledger: Sequence[LedgerRow]) -> list[str]:
        """A person is asked only where two creates of one key were lost; the hold stays, and nothing is there."""
        lost = runs[-1]
        there = [run.id for run in self.cloud.runs if run.key == lost.key]
        return [
            *(f"a person is asked after {lost.sends} sends" for _ in [0] if lost.sends < 2),
            *(f"{one} is there and nobody knows" for one in there),
            *("the hold is gone" for _ in [0] if not lost.hold_micro),
            *(f"{len(ledger)} entries" for _ in [0] if len(ledger) != len(self.cloud.runs)),
        ]

    def _born(self, number: int) -> tuple[Desk, Shared | None]:
        assert self.ground is not None
        store = mortal(self.ground.open(number), self.fate)
        # A server has a clock of its own, which cannot be moved: here it goes with ours.
        store.reading = Reading.of  # type: ignore[method-assign]
        provider = MortalProvider(self.cloud, self.kind, self.fate, can_find=self.can_find)
        context = Context(
            store=store,
            clock=self.clock,
            ids=Ids(),
            home=Home(self.folder, artifacts=self.folder),
            installation=INSTALLATION,
            env={},
            open_provider=lambda _name: provider,
        )
        rights = self.ground.rights(store, self.clock, f"daemon {number}")
        return Desk(context, self.cloud, self.clock, Engine(context, pool=Inline, rights=rights)), rights

    def _turn(self, desk: Desk, rights: Shared | None) -> bool:
        """One daemon looks and acts, then time passes. True: everything is settled."""
        if rights is not None:
            # Another daemon's thread in real life; a death in it is a lease that ends.
            with self.fate.asleep():
                rights.renew()
        desk.settle()
        if self._is_over(desk.context.store):
            return True
        self._interfere(desk.context)
        self.clock.advance(_STEP_S if self._is_open(desk.context.store) else _SETTLED_AFTER_S)
        return False

    @property
    def _wanted(self) -> tuple[str, ...]:
        # Who asks for the end may die first, and the training ends meanwhile: its adapter is paid for and comes home.
        was_too_late = any(run.state is RunState.SUCCEEDED for run in self.cloud.runs)
        return ("cancelled",) if self.cancel and not was_too_late else ("succeeded",)

    def _interfere(self, context: Context) -> None:
        """In the middle of the first run: take its machine away, or change one's mind."""
        first = self.cloud.runs[0] if self.cloud.runs else None
        if first is None or first.state is not RunState.RUNNING or self._age_s(first) < _HALF_WAY_S:
            return
        if self.cancel:
            ask_cancel(context, self.job)
        elif self.preempt:
            self.preempt = False
            self.cloud.end(first, RunState.STOPPED, RetryEvent.PREEMPTED)

    def _age_s(self, run: Remote) -> float:
        return (self.cloud.clock.now() - run.created_at).total_seconds()

    def _is_open(self, store: Store) -> bool:
        job = store.job(self.job)
        return job is not None and job.ended_at is None and job.state != "unknown"

    def _is_over(self, store: Store) -> bool:
        job = store.job(self.job)
        assert job is not None
        is_settled = all(run.settled_at for run in store.runs_of(self.job))
        return job.state == "unknown" or (job.ended_at is not None and is_settled)


def _cost(run: Remote) -> int:
    """Micro-USD of the run's time, as the cloud sees it."""
    ended: datetime = run.ended_at or run.created_at + TRAINING
    seconds = (ended - run.created_at).total_seconds()
    return Money(RATE * Decimal(str(seconds)) / 3600).micro
