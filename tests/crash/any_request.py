"""One job of a service while anything breaks once: each request of its life fails in turn, then ftorch starts anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.server import Fault
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.schema import Budget
from ftorch.providers.base import Provider
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk

FAULTS = (
    Fault.DROP_BEFORE,
    Fault.DROP_AFTER,
    Fault.UNAVAILABLE_AFTER,
    Fault.ERROR,
    Fault.RATE_LIMITED,
    Fault.GARBAGE,
    Fault.CUT,
)
BUDGET = Budget(limit=Money.parse("10.00 USD"))
_NEVER = 10_000


@dataclass(frozen=True)
class Service:
    """What differs between the services."""

    account: str
    """`provider/account`."""
    emulate: Callable[[Path, ManualClock], AbstractContextManager[Any]]
    open_provider: Callable[[Any, ManualClock], Provider]
    submit: Callable[[Desk], str]
    settles_s: float
    """After so long the price of a run is final."""


@dataclass(frozen=True)
class Outcome:
    """How a life ended, there and here."""

    requests: int
    made: int
    state: str
    reason: str | None
    spent: Money
    truth: Money
    has_adapter: bool


def assert_one_job_is_paid_and_comes_home(service: Service, folder: Path, fault: Fault) -> None:
    """Whatever request fails."""
    calm = life(service, folder / "calm", _NEVER, fault)
    assert (calm.made, calm.state, calm.has_adapter) == (1, "succeeded", True)

    numbers = range(1, calm.requests + 1)
    lives = {number: life(service, folder / str(number), number, fault) for number in numbers}

    print(f"\n{fault}: {calm.requests} requests, each failed once")
    assert {number: one for number, one in lives.items() if one.made != 1} == {}
    assert {number: one for number, one in lives.items() if (one.state, one.has_adapter) != ("succeeded", True)} == {}
    assert {number: one for number, one in lives.items() if one.spent != one.truth} == {}


def life(service: Service, folder: Path, number: int, fault: Fault) -> Outcome:
    """A job from submit to settlement; the request of this number fails, and then the engine starts anew."""
    folder.mkdir()
    clock = ManualClock()
    with service.emulate(folder, clock) as emulator:
        emulator.script_number(number, fault, value="3" if fault is Fault.RATE_LIMITED else "")
        with _desk(service, folder, emulator, clock) as desk:
            job_id = service.submit(desk)
            desk.run_until(
                lambda: desk.job(job_id).ended_at is not None or emulator.requests.total() >= number, seconds=7200
            )
        with _desk(service, folder, emulator, clock) as desk:
            desk.finish(job_id)
            requests = emulator.requests.total()
            clock.advance(service.settles_s)
            desk.settle()
            outcome = _outcome(desk, job_id, emulator, requests)
    assert emulator.violations == []
    return outcome


@contextmanager
def _desk(service: Service, folder: Path, emulator: Any, clock: ManualClock) -> Iterator[Desk]:
    """An engine that knows nothing but what its database says."""
    provider = service.open_provider(emulator, clock)
    store = SqliteStore.open(folder / "ftorch.db")
    context = Context(
        store=store,
        clock=clock,
        ids=Ids(),
        home=Home(folder),
        installation="abc123",
        env={},
        open_provider=lambda _name: provider,
    )
    # The account has shown a run of ours before: otherwise a create that was lost waits for a person, since a search
    # that never found anything proves nothing.
    store.write(lambda tx: tx.put_meta(f"mark/{service.account}", "ft-abc123-earlier"))
    engine = Engine(context)
    try:
        yield Desk(context, Cloud(clock), clock, engine)
    finally:
        engine.close()
        store.close()
        provider.close()


def _outcome(desk: Desk, job_id: str, emulator: Any, requests: int) -> Outcome:
    job, there = desk.job(job_id), emulator.service
    keys = {run.key.partition("/")[0] for run in desk.runs(job_id)}
    truth = sum((there.truth(there.newest(key)) for key in keys if there.creates[key]), Decimal(0))
    return Outcome(
        requests=requests,
        made=there.creates.total(),
        state=job.state,
        reason=job.reason,
        spent=Money.from_micro(desk.spent()),
        truth=Money.from_micro(Money(truth).micro),
        has_adapter=job.adapter is not None,
    )
