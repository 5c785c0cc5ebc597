"""Ray's emulator with a provider on it, for the suites and for tests of what no suite asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cluster.behaviour import Cluster
from contract.provider_contract import DeadlineBench
from contract.rows import plan_with_rows
from contract.wire_contract import RETRY_AFTER_S, Traffic, WireBench, WireFault
from ftorch.core.clock import ManualClock
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.ray import OTHER_TOKEN, TOKEN, RayEmulator
from ftorch.emulators.server import Fault
from ftorch.providers.base import Observation, Provider, RunOrder, RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.ray.provider import RayProvider
from ftorch.providers.ray.settings import ADDRESS_VARIABLE, TOKEN_VARIABLE

_ONE, _ALL = "GET /api/jobs/{id}", "GET /api/jobs/"
_LISTS = (_ALL, _ONE)
_FILE = ("GET /api/v0/logs/file",)
_CREATE = ("POST /api/jobs/",)
_FAULTS: Mapping[WireFault, tuple[tuple[str, ...], Fault]] = {
    WireFault.CREATE_ANSWER_DROPPED: (_CREATE, Fault.DROP_AFTER),
    WireFault.CREATE_ANSWER_503: (_CREATE, Fault.UNAVAILABLE_AFTER),
    WireFault.CREATE_ANSWER_LATE: (_CREATE, Fault.SLOW),
    WireFault.CREATE_ANSWER_GARBAGE: (_CREATE, Fault.GARBAGE),
    WireFault.CREATE_DROPPED: (_CREATE, Fault.DROP_BEFORE),
    WireFault.CREATE_LIMITED: (_CREATE, Fault.RATE_LIMITED),
    WireFault.CREATE_REJECTED: (_CREATE, Fault.REJECT),
    WireFault.CREATE_KEY_REFUSED: (_CREATE, Fault.REFUSED_KEY),
    WireFault.LIST_FAILS: (_LISTS, Fault.ERROR),
    WireFault.LIST_DROPPED: (_LISTS, Fault.DROP_BEFORE),
    WireFault.LIST_GARBAGE: (_LISTS, Fault.GARBAGE),
    WireFault.LIST_LIMITED: (_LISTS, Fault.RATE_LIMITED),
    WireFault.LIST_UNKNOWN_STATUS: (_LISTS, Fault.UNKNOWN_STATUS),
    WireFault.LIST_SHUFFLED: ((_ALL,), Fault.SHUFFLED),
    WireFault.SINGLE_FAILS: ((_ONE,), Fault.ERROR),
    WireFault.CANCEL_FAILS: (("POST /api/jobs/{id}/stop",), Fault.UNAVAILABLE_AFTER),
    WireFault.DOWNLOAD_DAMAGED: (_FILE, Fault.DAMAGED),
}
_VALUES = {Fault.RATE_LIMITED: str(RETRY_AFTER_S), Fault.SLOW: "3"}


class RayBench(WireBench, DeadlineBench):
    """A cluster in memory; time passes when it is told to."""

    def __init__(self, emulator: RayEmulator, clock: ManualClock, folder: Path) -> None:
        self._opened: list[RayProvider] = []
        self._emulator = emulator
        self._manual = clock
        self._home = Home(folder / "home")
        one, bundle = plan_with_rows(
            folder / "dataset", providers=("ray",), declared_rates={"ray": Money.parse("3.60 USD")}
        )
        env = {ADDRESS_VARIABLE: emulator.url, TOKEN_VARIABLE: TOKEN, "FTORCH_HOME": str(self._home.root)}
        provider = self._provider(emulator.url, TOKEN)
        super().__init__(provider, clock=clock, plan=one, bundle=bundle, env=env, key=TOKEN)

    @property
    def key_variable(self) -> str:
        return TOKEN_VARIABLE

    def wait(self) -> None:
        self._manual.advance(1)

    def advance(self, seconds: float) -> None:
        self._manual.advance(seconds)

    def fail(self, ref: RunRef) -> Observation:
        self._emulator.cluster.fail(ref.key, "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.advance(5)
        self._emulator.cluster.kill(ref.key)
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        self._emulator.cluster.job(ref.key).is_damaged = True

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        routes, what = _FAULTS[fault]
        for route in routes:
            self._emulator.script(route, what, times=times, value=_VALUES.get(what, ""))

    def heal(self) -> None:
        self._emulator.clear()

    def traffic(self) -> Traffic:
        asked = self._emulator.requests
        return Traffic(
            creates=asked["POST /api/jobs/"],
            lists=asked[_ALL] + asked[_ONE],
            singles=asked[_ONE],
            contents=asked["PUT /api/packages/gcs/{name}"],
            writes=sum(count for route, count in asked.items() if not route.startswith("GET ")),
            downloaded=sum(self._emulator.bytes_sent[route] for route in _FILE),
        )

    def made(self, key: str) -> int:
        return self._emulator.cluster.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        assert seconds == 0, "a job is seen as soon as it is made"

    def vanish(self, ref: RunRef) -> None:
        self._emulator.cluster.forget(ref.key)

    def unreachable(self) -> Provider:
        return self._provider("http://127.0.0.1:1", TOKEN)

    def with_refused_key(self) -> Provider:
        return self._provider(self._emulator.url, OTHER_TOKEN)

    def of_another_account(self) -> Provider:
        return self._provider(self._emulator.url.replace("127.0.0.1", "127.0.0.2"), TOKEN)

    def close(self) -> None:
        for provider in self._opened:
            provider.close()

    def _provider(self, url: str, token: str) -> RayProvider:
        clock = self._manual
        http = Http("ray", url, clock=clock, key=token, key_variable=TOKEN_VARIABLE, timeout_s=5, create_timeout_s=2.0)
        self._opened.append(RayProvider(http, url, self._home, clock))
        return self._opened[-1]


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
