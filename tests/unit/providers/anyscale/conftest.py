from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.anyscale_bench import AnyscaleBench
from contract.anyscale_stand_in import StandIn
from ftorch.core.clock import ManualClock
from ftorch.emulators.anyscale import AnyscaleEmulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def work(clock: ManualClock, tmp_path: Path) -> StandIn:
    return StandIn(clock, tmp_path / "bucket")


@pytest.fixture
def emulator(clock: ManualClock, work: StandIn) -> Iterator[AnyscaleEmulator]:
    with AnyscaleEmulator(clock, work=work) as emulator:
        yield emulator
    assert emulator.violations == []


@pytest.fixture
def bench(emulator: AnyscaleEmulator, work: StandIn, clock: ManualClock, tmp_path: Path) -> Iterator[AnyscaleBench]:
    bench = AnyscaleBench(emulator, work, clock, tmp_path)
    yield bench
    bench.close()
