from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.modal_bench import ModalBench, StandIn
from ftorch.core.clock import ManualClock
from ftorch.emulators.modal import ModalEmulator

_WEIGHTS = "GET /files/adapter_model.safetensors"


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
