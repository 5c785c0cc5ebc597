"""Leaving on a signal, in this process: what is set, what is woken, and what happens when something hangs."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ftorch.daemon import leave
from ftorch.daemon.leave import Leaving


def nothing(_code: int) -> None:
    """The process goes on: it is the one that runs the tests."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_loop_to_leave_and_ends_its_pause(number: signal.Signals) -> None:
    asked, woken = threading.Event(), threading.Event()
    with Leaving(asked, nothing) as leaving:
        leaving.wakes(woken.set)

        os.kill(os.getpid(), number)

        assert asked.wait(5)
        assert woken.wait(5)


def test_a_process_that_hangs_on_its_way_out_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave, "LEAVE_S", 0.05)
    ended, codes = threading.Event(), list[int]()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with Leaving(threading.Event(), end):
        os.kill(os.getpid(), signal.SIGTERM)

        assert ended.wait(5)
    assert codes == [0]


def test_whoever_heard_signals_before_hears_them_again() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with Leaving(threading.Event(), nothing):
        during = signal.getsignal(signal.SIGTERM)

    assert (during != before, signal.getsignal(signal.SIGTERM)) == (True, before)
