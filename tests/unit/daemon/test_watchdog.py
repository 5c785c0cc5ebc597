from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.daemon.watchdog import HUNG_S, Watchdog
from ftorch.store import SqliteStore


class Kennel:
    """A watchdog without a thread, and what it has ended."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ended: list[int] = []
        self.stuck = False
        self.dog = Watchdog(self.clock, lambda _seconds: self.stuck, self.ended.append)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            self.clock.advance(5)
            self.dog.look()


@pytest.fixture
def kennel() -> Kennel:
    return Kennel()


def test_a_loop_that_goes_round_is_left_alone(kennel: Kennel) -> None:
    for _ in range(10):
        kennel.pass_time(HUNG_S / 2)
        kennel.dog.feed()

    assert kennel.ended == []


def test_a_loop_that_hangs_is_ended(kennel: Kennel) -> None:
    kennel.pass_time(HUNG_S + 10)

    assert kennel.ended[0] == 70


def test_a_writer_that_hangs_ends_the_process(kennel: Kennel) -> None:
    kennel.stuck = True

    kennel.pass_time(5)

    assert kennel.ended == [70]


def test_a_laptop_that_slept_for_hours_has_not_hung(kennel: Kennel) -> None:
    kennel.clock.advance(8 * 3600)
    kennel.dog.look()

    assert kennel.ended == []


def test_a_store_knows_that_its_commit_takes_too_long(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    inside, go_on = threading.Event(), threading.Event()

    def slow(_tx: object) -> None:
        inside.set()
        go_on.wait(10)

    thread = threading.Thread(target=lambda: store.write(slow))
    thread.start()
    assert inside.wait(10)

    stuck = store.is_stuck(0.0)
    go_on.set()
    thread.join()

    assert stuck
    assert not store.is_stuck(0.0)
    store.close()
