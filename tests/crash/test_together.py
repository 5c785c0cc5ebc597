"""One job at Together while anything breaks once: each request of its life fails in turn, then ftorch starts anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.together_bench import qwen, write_rows
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.server import Fault
from ftorch.emulators.together import KEY, ORGANISATION, TogetherEmulator
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.schema import Budget
from ftorch.providers.http import Http
from ftorch.providers.together.provider import TogetherProvider
from ftorch.providers.together.settings import Settings
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
_A_DAY_S = 25 * 3600


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
def _desk(folder: Path, emulator: TogetherEmulator, clock: ManualClock) -> Iterator[Desk]:
    """An engine that knows nothing but what its database says."""
    http = Http("together", emulator.url, clock=clock, key=KEY, timeout_s=5, create_timeout_s=0.5)
    provider = TogetherProvider(http, clock, Settings(emulator.url, KEY))
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
    store.write(lambda tx: tx.put_meta(f"mark/together/{ORGANISATION}", "ft-abc123-earlier"))
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
    with TogetherEmulator(clock) as emulator:
        emulator.script_number(number, fault, value="3" if fault is Fault.RATE_LIMITED else "")
        with _desk(folder, emulator, clock) as desk:
            job_id = _submitted(desk)
            desk.run_until(
                lambda: desk.job(job_id).ended_at is not None or emulator.requests.total() >= number, seconds=7200
            )
        with _desk(folder, emulator, clock) as desk:
            desk.finish(job_id)
            requests = emulator.requests.total()
            clock.advance(_A_DAY_S)
            desk.settle()
            return _outcome(desk, job_id, emulator, requests)


def _submitted(desk: Desk) -> str:
    job_id = desk.submit(qwen().model_copy(update={"budget": Budget(limit=Money.parse("10.00 USD"))}), "together")
    write_rows(Path(desk.job(job_id).dataset) / "train.jsonl", 32)
    return job_id


def _outcome(desk: Desk, job_id: str, emulator: TogetherEmulator, requests: int) -> Outcome:
    job = desk.job(job_id)
    keys = {run.key.partition("/")[0] for run in desk.runs(job_id)}
    truth = sum(emulator.service.truth(emulator.service.newest(key)) for key in keys if emulator.service.creates[key])
    return Outcome(
        requests=requests,
        made=emulator.service.creates.total(),
        state=job.state,
        reason=job.reason,
        spent=Money.from_micro(desk.spent()),
        truth=Money(truth + Money.from_micro(0).amount),
        has_adapter=job.adapter is not None,
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_request_fails_one_job_is_paid_and_comes_home(tmp_path: Path, fault: Fault) -> None:
    calm = life(tmp_path / "calm", 10_000, fault)
    assert (calm.made, calm.state, calm.has_adapter) == (1, "succeeded", True)

    lives = {number: life(tmp_path / str(number), number, fault) for number in range(1, calm.requests + 1)}

    print(f"\n{fault}: {calm.requests} requests, each failed once")
    assert {number: one for number, one in lives.items() if one.made != 1} == {}
    assert {number: one for number, one in lives.items() if (one.state, one.has_adapter) != ("succeeded", True)} == {}
    assert {number: one for number, one in lives.items() if one.spent != one.truth} == {}
