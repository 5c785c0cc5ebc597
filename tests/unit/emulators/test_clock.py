from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from ftorch.emulators.clock import FastClock


def test_a_fast_clock_begins_now_and_goes_as_many_times_faster() -> None:
    before = datetime.now(UTC)
    clock = FastClock(1000)
    start = clock.now()
    began_s = time.monotonic()

    clock.sleep(20)

    assert before <= start
    assert clock.now() - start >= timedelta(seconds=20)
    assert time.monotonic() - began_s < 15


def test_a_fast_clock_can_be_moved_forward() -> None:
    clock = FastClock()
    before, boot_s = clock.now(), clock.boot_s()

    clock.advance(3600)

    assert clock.now() - before >= timedelta(hours=1)
    assert clock.boot_s() - boot_s >= 3600
