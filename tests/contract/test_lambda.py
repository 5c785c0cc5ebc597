"""Lambda in the suites: its API, real sshds, a stand-in for the trainer, and a clock that is moved by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from contract.keys_contract import MarkedRunsContract
from contract.provider_contract import CoreContract, DeadlineBench, DeadlineContract, RentedMachineContract
from contract.rows import plan_with_rows
from contract.wire_contract import (
    RETRY_AFTER_S,
    CapacityContract,
    HttpAnswersContract,
    NetworkContract,
    ResumeContract,
    ServiceContract,
    StatusWordsContract,
    Traffic,
    WireBench,
    WireFault,
)
from e2e.shell import kill
from ftorch.core.clock import ManualClock
from ftorch.core.paths import Home
from ftorch.emulators.lambda_cloud.emulator import KEY, LAUNCH, OTHER_KEY, SWITCH_KEY, TERMINATE, LambdaEmulator
from ftorch.emulators.lambda_cloud.service import Machine
from ftorch.emulators.server import Fault
from ftorch.providers.base import Observation, Provider, RunOrder, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud.driver import Driver
from ftorch.providers.lambda_cloud.pace import Pacer
from ftorch.providers.lambda_cloud.provider import LambdaProvider
from ftorch.providers.lambda_cloud.settings import Settings
from ftorch.providers.ssh.link import Link

_BOOT_S = 3.0
_MOMENT_S = 0.02
_LIST = ("GET /instances",)
_FAULTS: Mapping[WireFault, tuple[tuple[str, ...], Fault]] = {
    WireFault.CREATE_ANSWER_DROPPED: ((LAUNCH,), Fault.DROP_AFTER),
    WireFault.CREATE_ANSWER_503: ((LAUNCH,), Fault.UNAVAILABLE_AFTER),
    WireFault.CREATE_ANSWER_LATE: ((LAUNCH,), Fault.SLOW),
    WireFault.CREATE_ANSWER_GARBAGE: ((LAUNCH,), Fault.GARBAGE),
    WireFault.CREATE_DROPPED: ((LAUNCH,), Fault.DROP_BEFORE),
    WireFault.CREATE_LIMITED: ((LAUNCH,), Fault.RATE_LIMITED),
    WireFault.CREATE_REJECTED: ((LAUNCH,), Fault.REJECT),
    WireFault.CREATE_NO_CAPACITY: ((LAUNCH,), Fault.NO_CAPACITY),
    WireFault.CREATE_KEY_REFUSED: ((LAUNCH,), Fault.REFUSED_KEY),
    WireFault.LIST_FAILS: (_LIST, Fault.ERROR),
    WireFault.LIST_DROPPED: (_LIST, Fault.DROP_BEFORE),
    WireFault.LIST_GARBAGE: (_LIST, Fault.GARBAGE),
    WireFault.LIST_LIMITED: (_LIST, Fault.RATE_LIMITED),
    WireFault.LIST_UNKNOWN_STATUS: (_LIST, Fault.UNKNOWN_STATUS),
    WireFault.LIST_SHUFFLED: (_LIST, Fault.SHUFFLED),
    WireFault.SINGLE_FAILS: (("GET /instances/{id}",), Fault.ERROR),
    WireFault.CANCEL_FAILS: ((TERMINATE,), Fault.UNAVAILABLE_AFTER),
}
_BOX_FAULTS = {WireFault.DOWNLOAD_CUT: "cut", WireFault.DOWNLOAD_DAMAGED: "damaged"}
_VALUES = {Fault.RATE_LIMITED: str(RETRY_AFTER_S), Fault.SLOW: "3"}


def make_provider(
    url: str, key: str, home: Home, clock: ManualClock, port: int, user: str, *, launch_s: float = 0.0
) -> LambdaProvider:
    """The provider as `from_env` makes it, with a clock and a pace of the test's."""
    settings = Settings(url, key, SWITCH_KEY, ssh_user=user, ssh_port=port)
    http = Http("lambda", url, clock=clock, key=key, key_variable="LAMBDA_API_KEY", timeout_s=5, create_timeout_s=0.5)
    driver = Driver(settings, home, clock, Link("lambda"))
    pacer = Pacer(home, clock, request_s=0.0, launch_s=launch_s)
    return LambdaProvider(settings, home, http, pacer, driver, clock)


class LambdaBench(WireBench, DeadlineBench):
    """Lambda's time is moved by hand; what happens in its machines takes real, short time."""

    patience = 600

    def __init__(self, emulator: LambdaEmulator, clock: ManualClock, folder: Path) -> None:
        self._emulator = emulator
        self._manual = clock
        self._home = Home(folder / "home")
        self._opened: list[LambdaProvider] = []
        one, bundle = plan_with_rows(folder / "dataset", providers=("lambda",))
        provider = self._provider(emulator.api, KEY)
        env = {"LAMBDA_API_KEY": KEY, "LAMBDA_API_BASE": emulator.api, "FTORCH_HOME": str(self._home.root)}
        super().__init__(provider, clock=clock, plan=one, bundle=bundle, env=env, key=KEY)
        self.hidden.append(SWITCH_KEY)

    @property
    def key_variable(self) -> str:
        return "LAMBDA_API_KEY"

    def wait(self) -> None:
        self._manual.advance(1)
        time.sleep(_MOMENT_S)

    def pass_minutes(self, minutes: int) -> None:
        self._manual.advance(60 * minutes)

    def advance(self, seconds: float) -> None:
        self._manual.advance(seconds)

    def start(self, ref: RunRef) -> None:
        """As the engine does: again and again, until the machine is there and the work has begun."""
        for _ in range(self.patience):
            super().start(ref)
            if self.provider.observe([ref])[ref].state is not RunState.PROVISIONED:
                return
            self.wait()

    def fail(self, ref: RunRef) -> Observation:
        self._emulator.service.training = {"fail": "the loss is not a number"}
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
            for machine in self._emulator.service.alive():
                machine.box.fault("send", _BOX_FAULTS[fault], times=times)
            return
        routes, what = _FAULTS[fault]
        for route in routes:
            self._emulator.script(route, what, times=times, value=_VALUES.get(what, ""))

    def heal(self) -> None:
        self._emulator.clear()
        for machine in self._emulator.service.alive():
            machine.box.heal()

    def traffic(self) -> Traffic:
        asked = self._emulator.requests
        return Traffic(
            creates=asked[LAUNCH],
            lists=asked["GET /instances"],
            singles=asked["GET /instances/{id}"],
            contents=sum(one.box.asked()["take"] for one in self._machines()),
            writes=sum(count for route, count in asked.items() if not route.startswith("GET ")),
            downloaded=sum(one.box.sent() for one in self._machines()) - self._logs_at_home(),
        )

    def made(self, key: str) -> int:
        return self._emulator.service.launches[key]

    def hide_new_runs(self, seconds: float) -> None:
        self._emulator.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self._emulator.service.forget(self._machine(ref))

    def unreachable(self) -> Provider:
        return self._provider("http://127.0.0.1:1", KEY)

    def with_refused_key(self) -> Provider:
        return self._provider(self._emulator.api, "lambda-key-that-expired")

    def of_another_account(self) -> Provider:
        return self._provider(self._emulator.api, OTHER_KEY)

    def close(self) -> None:
        for provider in self._opened:
            provider.close()

    def _logs_at_home(self) -> int:
        """Bytes that were brought home and are no artifacts."""
        logs = self._home.root / "lambda" / "logs"
        return sum(path.stat().st_size for path in logs.rglob("*") if path.is_file())

    def _machines(self) -> list[Machine]:
        return list(self._emulator.service.machines.values())

    def _machine(self, ref: RunRef) -> Machine:
        return next(one for one in self._machines() if one.id == ref.remote_id)

    def _run(self, ref: RunRef) -> Path:
        return self._machine(ref).box.home / "ftorch" / "runs" / ref.key

    def _provider(self, url: str, key: str) -> LambdaProvider:
        service = self._emulator.service
        made = make_provider(url, key, self._home, self._manual, service.port, service.user)
        self._opened.append(made)
        return made


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
