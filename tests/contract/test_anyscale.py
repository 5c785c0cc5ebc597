"""Anyscale in the suites that it keeps to, against its emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.anyscale_bench import AnyscaleBench
from contract.anyscale_stand_in import StandIn
from contract.bills_contract import BillsContract
from contract.keys_contract import MarkedRunsContract
from contract.provider_contract import DeadlineContract, ProviderContract
from contract.wire_contract import HttpAnswersContract, ResumeContract, StatusWordsContract, WireContract
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


class TestAnyscaleAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestAnyscaleDeadline(DeadlineContract):
    """The trainer on the cluster ends in time."""


class TestAnyscaleKeys(MarkedRunsContract):
    """The key is a tag and a name; Anyscale makes a second job with both without a word."""


class TestAnyscaleOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestAnyscaleStatusWords(StatusWordsContract):
    """Anyscale has a word for what a job does."""


class TestAnyscaleAnswers(HttpAnswersContract):
    """Anyscale speaks HTTP."""


class TestAnyscaleDownloads(ResumeContract):
    """The adapter comes from a bucket, which can be read from anywhere in a file."""


class TestAnyscaleBills(BillsContract):
    """The organisation's bill, row by row."""
