"""Cancelling a trainer on this machine that does not stop when it is asked to."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.files import write_text
from ftorch.core.paths import Home
from ftorch.providers.base import RunRef
from ftorch.providers.local import process
from ftorch.providers.local.provider import LocalProvider

KEY = "ft-abc123-01m853egkdvypddzfanrkc5c05"
REF = RunRef("local", "here", KEY, KEY)
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
_PATIENCE_S = 20.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A run whose process does not listen to SIGTERM."""
    folder = tmp_path / "runs" / KEY
    folder.mkdir(parents=True)
    log = folder / "trainer.log"
    with process.exclusive(folder / "lock") as lock:
        assert lock is not None
        pid = process.spawn([sys.executable, "-c", _DEAF], lock=lock, env={}, log_file=log, folder=folder)
    write_text(folder / "process.json", f'{{"pid": {pid}}}')
    until(lambda: "deaf" in log.read_text())
    yield folder
    process.stop(pid, how=signal.SIGKILL)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_killed_a_minute_later_whatever_the_wall_clock_says(folder: Path, clock: ManualClock) -> None:
    provider = LocalProvider(Home(folder.parents[1]), {}, clock)
    provider.cancel(REF)
    clock.jump(7200)
    clock.advance(59)
    provider.cancel(REF)
    time.sleep(0.1)
    was_alive = process.is_alive(folder / "lock")

    clock.jump(-9000)
    clock.advance(1)
    provider.cancel(REF)

    assert was_alive
    until(lambda: not process.is_alive(folder / "lock"))
