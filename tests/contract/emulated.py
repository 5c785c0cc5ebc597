"""A bench over an emulator of `ftorch.emulators.server`: a table of its faults, and providers on it under one clock."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Generic, TypeVar

from contract.wire_contract import RETRY_AFTER_S, WireBench, WireFault
from ftorch.core.clock import ManualClock
from ftorch.emulators.server import Emulator, Fault
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Bundle, Provider

Routes = tuple[str, ...]
Faults = Mapping[WireFault, tuple[Routes, Fault]]
"""Where each of them happens, and what the emulator does there."""

_E = TypeVar("_E", bound=Emulator)
_P = TypeVar("_P", bound=Provider)


def fault_table(
    *,
    create: Routes,
    lists: Routes,
    single: Routes,
    cancel: Routes,
    shuffled: Routes | None = None,
    downloads: Routes = (),
    without: Collection[WireFault] = (),
) -> Faults:
    """What can go wrong at a service, by the names of its routes. `shuffled` are those of `lists` that have an order.

    No `downloads`: what is fetched comes from elsewhere. `without`: what cannot happen there, and no suite may ask for.
    """
    table = {
        WireFault.CREATE_ANSWER_DROPPED: (create, Fault.DROP_AFTER),
        WireFault.CREATE_ANSWER_503: (create, Fault.UNAVAILABLE_AFTER),
        WireFault.CREATE_ANSWER_LATE: (create, Fault.SLOW),
        WireFault.CREATE_ANSWER_GARBAGE: (create, Fault.GARBAGE),
        WireFault.CREATE_DROPPED: (create, Fault.DROP_BEFORE),
        WireFault.CREATE_LIMITED: (create, Fault.RATE_LIMITED),
        WireFault.CREATE_REJECTED: (create, Fault.REJECT),
        WireFault.CREATE_NO_CAPACITY: (create, Fault.NO_CAPACITY),
        WireFault.CREATE_KEY_REFUSED: (create, Fault.REFUSED_KEY),
        WireFault.LIST_FAILS: (lists, Fault.ERROR),
        WireFault.LIST_DROPPED: (lists, Fault.DROP_BEFORE),
        WireFault.LIST_GARBAGE: (lists, Fault.GARBAGE),
        WireFault.LIST_LIMITED: (lists, Fault.RATE_LIMITED),
        WireFault.LIST_UNKNOWN_STATUS: (lists, Fault.UNKNOWN_STATUS),
        WireFault.LIST_SHUFFLED: (shuffled or lists, Fault.SHUFFLED),
        WireFault.SINGLE_FAILS: (single, Fault.ERROR),
        WireFault.CANCEL_FAILS: (cancel, Fault.UNAVAILABLE_AFTER),
        WireFault.DOWNLOAD_CUT: (downloads, Fault.CUT),
        WireFault.DOWNLOAD_DAMAGED: (downloads, Fault.DAMAGED),
        WireFault.DOWNLOAD_WITHOUT_RANGE: (downloads, Fault.NO_RANGE),
    }
    return {wire: (routes, fault) for wire, (routes, fault) in table.items() if routes and wire not in without}


class EmulatedBench(WireBench, Generic[_E, _P]):
    """A service in memory; time passes when it is told to. A bench adds what its service is made to do to a run."""

    faults: ClassVar[Faults]
    key: ClassVar[str]
    other_key: ClassVar[str]
    """Of another account."""
    refused_key: ClassVar[str]
    moment_s: ClassVar[float] = 1
    """How long `wait` waits."""
    late_s: ClassVar[float] = 3
    """When an answer comes that comes late: longer than the client waits."""

    clock: ManualClock
    provider: _P

    def __init__(self, emulator: _E, clock: ManualClock, *, plan: Plan, bundle: Bundle, env: Mapping[str, str]) -> None:
        self.emulator = emulator
        self.clock = clock
        self._opened: list[_P] = []
        provider = self.provider_at(self.url, self.key)
        super().__init__(provider, clock=clock, plan=plan, bundle=bundle, env=env, key=self.key)

    @abstractmethod
    def make_provider(self, url: str, key: str) -> _P:
        """The provider with the bench's clock. Called before the bench has a plan."""

    @property
    def url(self) -> str:
        """Where the provider finds the service."""
        return self.emulator.url

    def wait(self) -> None:
        self.advance(self.moment_s)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        routes, what = self.faults[fault]
        values = {Fault.RATE_LIMITED: str(RETRY_AFTER_S), Fault.SLOW: str(self.late_s)}
        for route in routes:
            self.emulator.script(route, what, times=times, value=values.get(what, ""))

    def heal(self) -> None:
        self.emulator.clear()

    def writes(self) -> int:
        """Requests so far that were no GET."""
        return sum(count for route, count in self.emulator.requests.items() if not route.startswith("GET "))

    def unreachable(self) -> _P:
        return self.provider_at("http://127.0.0.1:1", self.key)

    def with_refused_key(self) -> _P:
        return self.provider_at(self.url, self.refused_key)

    def of_another_account(self) -> _P:
        return self.provider_at(self.url, self.other_key)

    def provider_at(self, url: str, key: str) -> _P:
        """One more provider, closed with the bench."""
        made = self.make_provider(url, key)
        self._opened.append(made)
        return made

    def close(self) -> None:
        for provider in self._opened:
            provider.close()
