"""Ray's emulator in all suites. `tests/oracle/test_ray_contract.py` asks the same of a real head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.behaviour import JobsApiContract
from contract.keys_contract import ChosenIdContract
from contract.provider_contract import DeadlineContract, ProviderContract
from contract.ray_bench import EmulatedCluster, RayBench
from contract.wire_contract import HttpAnswersContract, StatusWordsContract, WireContract
from ftorch.core.clock import ManualClock
from ftorch.emulators.ray import RayEmulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock) -> Iterator[RayEmulator]:
    with RayEmulator(clock, gpus=64) as emulator:
        yield emulator


@pytest.fixture
def bench(emulator: RayEmulator, clock: ManualClock, tmp_path: Path) -> Iterator[RayBench]:
    bench = RayBench(emulator, clock, tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def cluster(emulator: RayEmulator, clock: ManualClock) -> Iterator[EmulatedCluster]:
    cluster = EmulatedCluster(emulator, clock)
    yield cluster
    cluster.close()


class TestRayAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestRayDeadline(DeadlineContract):
    """The trainer stops in time."""


class TestRayKeys(ChosenIdContract):
    """The key is the job's id."""


class TestRayOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestRayStatusWords(StatusWordsContract):
    """Ray has words for what a job does."""


class TestRayAnswers(HttpAnswersContract):
    """Ray speaks HTTP."""


class TestTheEmulatorsJobsApi(JobsApiContract):
    """`tests/oracle/test_ray_jobs.py` asks the same of a real head, so that the emulator cannot drift."""
