"""Lambda in the suites: its API, real sshds, a stand-in for the trainer, and a clock that is moved by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.emulated import EmulatedBench, fault_table
from contract.keys_contract import MarkedRunsContract
from contract.provider_contract import CoreContract, DeadlineBench, DeadlineContract, RentedMachineContract
from contract.rows import plan_with_rows
from contract.wire_contract import (
    CapacityContract,
    HttpAnswersContract,
    NetworkContract,
    ResumeContract,
    ServiceContract,
    StatusWordsContract,
    Traffic,
    WireFault,
)
from e2e.shell import kill
from ftorch.core.clock import ManualClock
from ftorch.core.paths import Home
from ftorch.emulators.lambda_cloud.emulator import KEY, LAUNCH, OTHER_KEY, SWITCH_KEY, TERMINATE, LambdaEmulator
from ftorch.emulators.lambda_cloud.service import Machine
from ftorch.providers.base import Observation, RunOrder, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud.driver import Driver
from ftorch.providers.lambda_cloud.pace import Pacer
from ftorch.providers.lambda_cloud.provider import LambdaProvider
from ftorch.providers.lambda_cloud.settings import Settings
from ftorch.providers.ssh.link import Link

_BOOT_S = 3.0
_MOMENT_S = 0.02
_LIST, _ONE = "GET /instances", "GET /instances/{id}"
_BOX_FAULTS = {WireFault.DOWNLOAD_CUT: "cut", WireFault.DOWNLOAD_DAMAGED: "damaged"}


class LambdaBench(EmulatedBench[LambdaEmulator, LambdaProvider], DeadlineBench):
    """Lambda's time is moved by hand; what happens in its machines takes real, short time."""

    faults = fault_table(create=(LAUNCH,), lists=(_LIST,), single=(_ONE,), cancel=(TERMINATE,))
    key_variable = "LAMBDA_API_KEY"
    key, other_key, refused_key = KEY, OTHER_KEY, "lambda-key-that-expired"
    patience = 600

    def __init__(self, emulator: LambdaEmulator, clock: ManualClock, folder: Path) -> None:
        self._home = Home(folder / "home")
        one, bundle = plan_with_rows(folder / "dataset", providers=("lambda",))
        env = {"LAMBDA_API_KEY": KEY, "LAMBDA_API_BASE": emulator.api, "FTORCH_HOME": str(self._home.root)}
        super().__init__(emulator, clock, plan=one, bundle=bundle, env=env)
        self.hidden.append(SWITCH_KEY)

    @property
    def url(self) -> str:
        return self.emulator.api

    def wait(self) -> None:
        super().wait()
        time.sleep(_MOMENT_S)

    def pass_minutes(self, minutes: int) -> None:
        self.advance(60 * minutes)

    def start(self, ref: RunRef) -> None:
        """As the engine does: again and again, until the machine is there and the work has begun."""
        for _ in range(self.patience):
            super().start(ref)
            if self.provider.observe([ref])[ref].state is not RunState.PROVISIONED:
                return
            self.wait()

    def fail(self, ref: RunRef) -> Observation:
        self.emulator.service.training = {"fail": "the loss is not a number"}
        self.start(ref)
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.start(ref)
        while not (self._run(ref) / "out" / "heartbeat.json").exists():
            self.wait()
        kill(json.loads((self._run(ref) / "process.json").read_text())["pid"])
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        weights = self._run(ref) / "out" / "adapter" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=1)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        if fault in _BOX_FAULTS:
            for machine in self.emulator.service.alive():
                machine.box.fault("send", _BOX_FAULTS[fault], times=times)
        else:
            super().script(fault, times=times)

    def heal(self) -> None:
        super().heal()
        for machine in self.emulator.service.alive():
            machine.box.heal()

    def traffic(self) -> Traffic:
        asked = self.emulator.requests
        return Traffic(
            creates=asked[LAUNCH],
            lists=asked[_LIST],
            singles=asked[_ONE],
            contents=sum(one.box.asked()["take"] for one in self._machines()),
            writes=self.writes(),
            downloaded=sum(one.box.sent() for one in self._machines()) - self._logs_at_home(),
        )

    def made(self, key: str) -> int:
        return self.emulator.service.launches[key]

    def hide_new_runs(self, seconds: float) -> None:
        self.emulator.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self.emulator.service.forget(self._machine(ref))

    def _logs_at_home(self) -> int:
        """Bytes that were brought home and are no artifacts."""
        logs = self._home.root / "lambda" / "logs"
        return sum(path.stat().st_size for path in logs.rglob("*") if path.is_file())

    def _machines(self) -> list[Machine]:
        return list(self.emulator.service.machines.values())

    def _machine(self, ref: RunRef) -> Machine:
        return next(one for one in self._machines() if one.id == ref.remote_id)

    def _run(self, ref: RunRef) -> Path:
        return self._machine(ref).box.home / "ftorch" / "runs" / ref.key

    def make_provider(self, url: str, key: str) -> LambdaProvider:
        """As `from_env` does, with a clock and a pace of the test's."""
        home, clock, service = self._home, self.clock, self.emulator.service
        settings = Settings(url, key, SWITCH_KEY, ssh_user=service.user, ssh_port=service.port)
        http = Http(
            "lambda", url, clock=clock, key=key, key_variable=self.key_variable, timeout_s=5, create_timeout_s=0.5
        )
        driver = Driver(settings, home, clock, Link("lambda"))
        return LambdaProvider(settings, home, http, Pacer(home, clock, request_s=0.0, launch_s=0.0), driver, clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock, tmp_path: Path) -> Iterator[LambdaEmulator]:
    with LambdaEmulator(clock, tmp_path / "lambda") as emulator:
        emulator.service.boot_s = _BOOT_S
        yield emulator
    assert emulator.violations == []
    assert emulator.service.processes() == []


@pytest.fixture
def bench(emulator: LambdaEmulator, clock: ManualClock, tmp_path: Path) -> Iterator[LambdaBench]:
    bench = LambdaBench(emulator, clock, tmp_path)
    yield bench
    bench.close()


class TestLambdaAsProvider(CoreContract):
    """Everything that is asked of a provider."""


class TestLambdaMachines(RentedMachineContract):
    """A machine costs until Lambda has ended it."""


class TestLambdaDeadline(DeadlineContract):
    """The trainer stops in time."""


class TestLambdaKeys(MarkedRunsContract):
    """The key is a machine's name; Lambda launches a second machine under it without a word."""


class TestLambdaOnTheNetwork(NetworkContract):
    """Everything that can happen to a request, and to a connection to a machine."""


class TestLambdaAsService(ServiceContract):
    """A key, a pace, words."""


class TestLambdaStatusWords(StatusWordsContract):
    """A machine has words for what it does."""


class TestLambdaAnswers(HttpAnswersContract):
    """Its answers are bodies of HTTP."""


class TestLambdaResumes(ResumeContract):
    """A file that was cut goes on."""


class TestLambdaCapacity(CapacityContract):
    """Lambda says when no machine is free."""
