"""Together in the suites that it keeps to, against its emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.bills_contract import BillsContract, CreditsContract
from contract.keys_contract import MarkedRunsContract
from contract.provider_contract import ProviderContract
from contract.stages_contract import StagesContract
from contract.together_bench import TogetherBench
from contract.wire_contract import HttpAnswersContract, RangesContract, StatusWordsContract, WireContract
from ftorch.core.clock import ManualClock
from ftorch.emulators.together import TogetherEmulator


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
    bench = TogetherBench(emulator, clock, tmp_path)
    yield bench
    bench.close()


class TestTogetherAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestTogetherKeys(MarkedRunsContract):
    """The key is a suffix; Together makes a second job with it without a word."""


class TestTogetherOnTheWire(WireContract):
    """Everything that can happen to a request."""


class TestTogetherStatusWords(StatusWordsContract):
    """Together has a word for what a job does."""


class TestTogetherAnswers(HttpAnswersContract):
    """Together speaks HTTP."""


class TestTogetherStages(StagesContract):
    """Files stay until somebody deletes them."""


class TestTogetherRanges(RangesContract):
    """Together understands Range."""


class TestTogetherCredits(CreditsContract):
    """Together's bill has credits in it."""


class TestTogetherBills(BillsContract):
    """The organisation's bill, line by line."""
