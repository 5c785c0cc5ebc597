"""Modal in the suites that it keeps to, against its emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.bills_contract import BillsContract
from contract.keys_contract import NamedRunsContract
from contract.modal_bench import ModalBench, StandIn
from contract.provider_contract import DeadlineContract, ProviderContract
from contract.stages_contract import StagesContract
from contract.wire_contract import CapacityContract, WireContract
from ftorch.core.clock import ManualClock
from ftorch.emulators.modal import ModalEmulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def work(clock: ManualClock) -> StandIn:
    return StandIn(clock)


@pytest.fixture
def emulator(clock: ManualClock, work: StandIn, tmp_path: Path) -> Iterator[ModalEmulator]:
    with ModalEmulator(clock, folder=tmp_path / "modal", work=work) as emulator:
        yield emulator
    assert emulator.unserved == set()


@pytest.fixture
def bench(emulator: ModalEmulator, work: StandIn, clock: ManualClock, tmp_path: Path) -> Iterator[ModalBench]:
    bench = ModalBench(emulator, work, clock, tmp_path)
    yield bench
    bench.close()


class TestModalAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestModalDeadline(DeadlineContract):
    """The trainer in the sandbox ends in time."""


class TestModalKeys(NamedRunsContract):
    """The key is the sandbox's name while it lives, and in the name of its mark after that."""


class TestModalOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestModalCapacity(CapacityContract):
    """Modal says when no machine is free."""


class TestModalStages(StagesContract):
    """Bundles stay on the Volume until they are deleted."""


class TestModalBills(BillsContract):
    """The workspace's bill, row by row."""
