from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import TogetherEmulator
from unit.emulators.desk import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Ends the test red when the emulator saw a request, or made an answer, that no schema allows."""
    clock = ManualClock()
    with TogetherEmulator(clock) as emulator, httpx.Client() as http:
        yield Desk(emulator, clock, http)
        assert emulator.violations == []
