from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.together_bench import TogetherBench
from ftorch.core.clock import ManualClock
from ftorch.emulators.together import Service, TogetherEmulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock) -> Iterator[TogetherEmulator]:
    with TogetherEmulator(clock) as emulator:
        yield emulator
    assert emulator.violations == []


@pytest.fixture
def bench(emulator: TogetherEmulator, clock: ManualClock, tmp_path: Path) -> Iterator[TogetherBench]:
    folder = tmp_path / "dataset"
    folder.mkdir()
    bench = TogetherBench(emulator, clock, folder)
    yield bench
    bench.close()


@pytest.fixture
def service(emulator: TogetherEmulator) -> Service:
    return emulator.service
