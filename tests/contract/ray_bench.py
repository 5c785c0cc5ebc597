"""Ray's emulator with a provider on it, for the suites and for tests of what no suite asks."""

from __future__ import annotations

from pathlib import Path

from cluster.behaviour import Cluster
from contract.emulated import EmulatedBench, fault_table
from contract.provider_contract import DeadlineBench
from contract.rows import plan_with_rows
from contract.wire_contract import Traffic, WireFault
from ftorch.core.clock import ManualClock
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.ray import OTHER_TOKEN, TOKEN, RayEmulator
from ftorch.providers.base import Observation, RunOrder, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.ray.provider import RayProvider
from ftorch.providers.ray.settings import ADDRESS_VARIABLE, TOKEN_VARIABLE

_ONE, _ALL = "GET /api/jobs/{id}", "GET /api/jobs/"
_FILE = "GET /api/v0/logs/file"


class RayBench(EmulatedBench[RayEmulator, RayProvider], DeadlineBench):
    """A cluster in memory; time passes when it is told to."""

    faults = fault_table(
        create=("POST /api/jobs/",),
        lists=(_ALL, _ONE),
        shuffled=(_ALL,),
        single=(_ONE,),
        cancel=("POST /api/jobs/{id}/stop",),
        downloads=(_FILE,),
        without=(WireFault.CREATE_NO_CAPACITY, WireFault.DOWNLOAD_CUT, WireFault.DOWNLOAD_WITHOUT_RANGE),
    )
    key_variable = TOKEN_VARIABLE
    key, refused_key = TOKEN, OTHER_TOKEN

    def __init__(self, emulator: RayEmulator, clock: ManualClock, folder: Path) -> None:
        self._home = Home(folder / "home")
        one, bundle = plan_with_rows(
            folder / "dataset", providers=("ray",), declared_rates={"ray": Money.parse("3.60 USD")}
        )
        env = {ADDRESS_VARIABLE: emulator.url, TOKEN_VARIABLE: TOKEN, "FTORCH_HOME": str(self._home.root)}
        super().__init__(emulator, clock, plan=one, bundle=bundle, env=env)

    def fail(self, ref: RunRef) -> Observation:
        self.emulator.cluster.fail(ref.key, "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.advance(5)
        self.emulator.cluster.kill(ref.key)
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        self.emulator.cluster.job(ref.key).is_damaged = True

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def traffic(self) -> Traffic:
        asked = self.emulator.requests
        return Traffic(
            creates=asked["POST /api/jobs/"],
            lists=asked[_ALL] + asked[_ONE],
            singles=asked[_ONE],
            contents=asked["PUT /api/packages/gcs/{name}"],
            writes=self.writes(),
            downloaded=self.emulator.bytes_sent[_FILE],
        )

    def made(self, key: str) -> int:
        return self.emulator.cluster.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        assert seconds == 0, "a job is seen as soon as it is made"

    def vanish(self, ref: RunRef) -> None:
        self.emulator.cluster.forget(ref.key)

    def of_another_account(self) -> RayProvider:
        return self.provider_at(self.url.replace("127.0.0.1", "127.0.0.2"), TOKEN)

    def make_provider(self, url: str, key: str) -> RayProvider:
        clock = self.clock
        http = Http("ray", url, clock=clock, key=key, key_variable=TOKEN_VARIABLE, timeout_s=5, create_timeout_s=2.0)
        return RayProvider(http, url, self._home, clock)


class EmulatedCluster(Cluster):
    """The emulator; its clock is moved."""

    def __init__(self, emulator: RayEmulator, clock: ManualClock) -> None:
        super().__init__(emulator.url, TOKEN)
        self._emulator = emulator
        self._clock = clock

    def wait(self) -> None:
        self._clock.advance(1)

    def restart(self) -> None:
        self._emulator.cluster.restart()
