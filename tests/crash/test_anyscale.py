"""One job at Anyscale while anything breaks once: each request of its life fails in turn, then ftorch starts anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.anyscale_stand_in import StandIn
from contract.bucket import open_bucket
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.anyscale import ORGANISATION, TOKEN, AnyscaleEmulator
from ftorch.emulators.server import Fault
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.schema import Budget
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.anyscale.settings import cookie
from ftorch.providers.http import Http
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk
from unit.plans import plan

FAULTS = (
    Fault.DROP_BEFORE,
    Fault.DROP_AFTER,
    Fault.UNAVAILABLE_AFTER,
    Fault.ERROR,
    Fault.RATE_LIMITED,
    Fault.GARBAGE,
    Fault.CUT,
)
_THREE_DAYS_S = 73 * 3600
_CALM = 10_000


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


@contextmanager
def _desk(folder: Path, emulator: AnyscaleEmulator, clock: ManualClock) -> Iterator[Desk]:
    """An engine that knows nothing but what its database says."""
    http = Http("anyscale", emulator.url, clock=clock, key=TOKEN, authorized=cookie, timeout_s=5, create_timeout_s=0.5)
    provider = AnyscaleProvider(http, clock)
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
    store.write(lambda tx: tx.put_meta(f"mark/anyscale/{ORGANISATION}", "ft-abc123-earlier"))
    engine = Engine(context)
    try:
        yield Desk(context, Cloud(clock), clock, engine)
    finally:
        engine.close()
        store.close()
        provider.close()


def life(folder: Path, number: int, fault: Fault) -> Outcome:
    """A job from submit to settlement; the request of this number fails, and then the engine starts anew."""
    folder.mkdir()
    clock = ManualClock()
    bucket = open_bucket("tiny", folder / "bucket")
    with AnyscaleEmulator(clock, work=StandIn(clock, bucket.folder)) as emulator:
        emulator.script_number(number, fault, value="3" if fault is Fault.RATE_LIMITED else "")
        with _desk(folder, emulator, clock) as desk:
            job_id = _submitted(desk)
            desk.run_until(
                lambda: desk.job(job_id).ended_at is not None or emulator.requests.total() >= number, seconds=7200
            )
        with _desk(folder, emulator, clock) as desk:
            desk.finish(job_id)
            requests = emulator.requests.total()
            clock.advance(_THREE_DAYS_S)
            desk.settle()
            outcome = _outcome(desk, job_id, emulator, requests)
    assert emulator.violations == []
    return outcome


def _submitted(desk: Desk) -> str:
    options = {"anyscale": {"output_uri": "bucket://tiny/runs"}}
    budget = Budget(limit=Money.parse("10.00 USD"))
    return desk.submit(plan(providers=("anyscale",), options=options, budget=budget), "anyscale")


def _outcome(desk: Desk, job_id: str, emulator: AnyscaleEmulator, requests: int) -> Outcome:
    job = desk.job(job_id)
    service = emulator.service
    keys = {run.key.partition("/")[0] for run in desk.runs(job_id)}
    truth = sum(
        (service.truth(service.newest(key)) for key in keys if service.creates[key]), Money.from_micro(0).amount
    )
    return Outcome(
        requests=requests,
        made=service.creates.total(),
        state=job.state,
        reason=job.reason,
        spent=Money.from_micro(desk.spent()),
        truth=Money.from_micro(Money(truth).micro),
        has_adapter=job.adapter is not None,
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_request_fails_one_job_is_paid_and_comes_home(tmp_path: Path, fault: Fault) -> None:
    calm = life(tmp_path / "calm", _CALM, fault)
    assert (calm.made, calm.state, calm.has_adapter) == (1, "succeeded", True)

    lives = {number: life(tmp_path / str(number), number, fault) for number in range(1, calm.requests + 1)}

    print(f"\n{fault}: {calm.requests} requests, each failed once")
    assert {number: one for number, one in lives.items() if one.made != 1} == {}
    assert {number: one for number, one in lives.items() if (one.state, one.has_adapter) != ("succeeded", True)} == {}
    assert {number: one for number, one in lives.items() if one.spent != one.truth} == {}
