"""The sample provider in all suites, against its emulator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from contract.bills_contract import BillsBench, BillsContract, CreditsContract, Expected
from contract.emulated import EmulatedBench, fault_table
from contract.keys_contract import MarkedRunsContract
from contract.provider_contract import SECRET, DeadlineBench, DeadlineContract, ProviderContract
from contract.stages_contract import StagesBench, StagesContract
from contract.wire_contract import (
    CapacityContract,
    HttpAnswersContract,
    RangesContract,
    StatusWordsContract,
    Traffic,
    WireContract,
)
from ftorch.core.clock import ManualClock
from ftorch.core.errors import RunRejectedError
from ftorch.costs.items import Window
from ftorch.jobs.bundle import make_bundle
from ftorch.manifest.schema import Resources
from ftorch.providers.base import Bills, Observation, RunOrder, RunRef, RunState, Stages
from ftorch.providers.http import Http
from sample.api import PAGE
from sample.emulator import KEY, OTHER_KEY, AcmeEmulator
from sample.provider import AcmeProvider
from sample.service import Service
from sample.settings import KEY_VARIABLE, URL_VARIABLE
from unit.plans import plan

_LISTS = ("GET /runs", "GET /runs?tag")
_ARTIFACT = "GET /runs/{id}/artifact/{file}"
_EVER = Window(ManualClock().now() - timedelta(days=1), ManualClock().now() + timedelta(days=1))


class AcmeBench(EmulatedBench[AcmeEmulator, AcmeProvider], DeadlineBench, BillsBench, StagesBench):
    """acme in memory; time passes when it is told to."""

    faults = fault_table(
        create=("POST /runs",),
        lists=_LISTS,
        single=("GET /runs/{id}",),
        cancel=("POST /runs/{id}/cancel",),
        downloads=(_ARTIFACT,),
    )
    key_variable = KEY_VARIABLE
    key, other_key, refused_key = KEY, OTHER_KEY, "acme-key-that-expired"

    def __init__(self, emulator: AcmeEmulator, clock: ManualClock, folder: Path) -> None:
        (folder / "train.jsonl").write_text('{"prompt": "2 + 2", "completion": "4"}\n' * 32)
        one = plan(providers=("acme",))
        env = {KEY_VARIABLE: KEY, URL_VARIABLE: emulator.url}
        super().__init__(emulator, clock, plan=one, bundle=make_bundle(one, folder), env=env)
        self.bills: Bills = self.provider
        self.stages: Stages = self.provider
        self.stages_of_another: Stages = self.of_another_account()

    def fail(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self._service.end(self._service.newest(ref.key), "failed", exit_code=70, message="the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self._service.end(self._service.newest(ref.key), "preempted", message="the machine was taken back")
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        self._service.damage(self._service.newest(ref.key))

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def traffic(self) -> Traffic:
        asked = self.emulator.requests
        return Traffic(
            creates=asked["POST /runs"],
            lists=sum(asked[route] for route in _LISTS),
            singles=asked["GET /runs/{id}"],
            contents=asked["PUT /uploads/{sha256}"],
            writes=self.writes(),
            downloaded=self.emulator.bytes_sent[_ARTIFACT],
        )

    def made(self, key: str) -> int:
        return self._service.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        self._service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self._service.forget(self._service.newest(ref.key))

    def fill(self) -> Expected:
        self._service.add_strangers()
        account = self.provider.check().id
        order: dict[str, object] = {"machine": "acme-a100", "uploads": {}, "spec": None}
        for _ in range(PAGE):
            self._service.create(account, {**order, "tag": self.new_key()})
            self.advance(37.5)
        self.advance(100)
        rows = self._service.bill(account, _EVER.start, _EVER.end)
        return Expected(_EVER, {row.id: row.usd for row in rows}, PAGE)

    def fill_content(self) -> int:
        account = self.provider.check().id
        for number in range(PAGE + 5):
            content = str(number).encode()
            self._service.receive(account, hashlib.sha256(content).hexdigest(), content)
        return len(self._service.uploads)

    def correct(self, source_ref: str, usd: Decimal) -> None:
        self._service.correct(source_ref, usd)

    @property
    def _service(self) -> Service:
        return self.emulator.service

    def make_provider(self, url: str, key: str) -> AcmeProvider:
        clock = self.clock
        http = Http("acme", url, clock=clock, key=key, key_variable=KEY_VARIABLE, timeout_s=5, create_timeout_s=0.5)
        return AcmeProvider(http, clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock) -> Iterator[AcmeEmulator]:
    with AcmeEmulator(clock) as emulator:
        yield emulator


@pytest.fixture
def bench(emulator: AcmeEmulator, clock: ManualClock, tmp_path: Path) -> Iterator[AcmeBench]:
    bench = AcmeBench(emulator, clock, tmp_path)
    yield bench
    bench.close()


class TestAcmeAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestAcmeDeadline(DeadlineContract):
    """acme stops a run in time."""


class TestAcmeKeys(MarkedRunsContract):
    """The key is a tag; acme makes a second run under it without a word."""


class TestAcmeOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestAcmeStatusWords(StatusWordsContract):
    """acme has a word for what a run does."""


class TestAcmeAnswers(HttpAnswersContract):
    """acme speaks HTTP."""


class TestAcmeRanges(RangesContract):
    """acme understands Range."""


class TestAcmeCapacity(CapacityContract):
    """acme says when no machine is free."""


class TestAcmeBills(BillsContract):
    """acme's bill, row by row."""


class TestAcmeCredits(CreditsContract):
    """acme's bill has credits in it."""


class TestAcmeStages(StagesContract):
    """What was uploaded stays until it is deleted."""


def test_a_run_that_goes_on_has_less_to_do(bench: AcmeBench) -> None:
    earlier = bench.running()
    bench.advance(40)
    bench.provider.cancel(earlier)

    ref = bench.running(bench.order(resume_from=earlier))
    bench.advance(25)

    assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED


def test_release_is_believed_when_acme_says_so(bench: AcmeBench, emulator: AcmeEmulator) -> None:
    ref = bench.finished()

    first = bench.provider.release(ref)
    bench.advance(2)

    assert (first, bench.provider.release(ref)) == (False, True)
    assert emulator.service.newest(ref.key).released_at == bench.clock.now()


def test_secrets_reach_the_run(bench: AcmeBench, emulator: AcmeEmulator) -> None:
    ref = bench.submit()

    assert emulator.service.newest(ref.key).order["env"] == {"HF_TOKEN": SECRET}


def test_a_machine_that_acme_has_not_is_refused(bench: AcmeBench) -> None:
    with pytest.raises(RunRejectedError, match="acme has no B200; it has H100, A100-80GB"):
        bench.provider.placements(plan(resources=Resources(gpu=("B200",))))


def test_a_plan_gets_the_machine_that_it_asks_for(bench: AcmeBench) -> None:
    placements = bench.provider.placements(plan(resources=Resources(gpu=("H100",))))

    assert [placement.name for placement in placements] == ["acme-h100"]
