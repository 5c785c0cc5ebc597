"""The quiet time: however the wall clock was set, and whoever looks, a create is not sent again before it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.core.clock import Clock, ManualClock, Reading, SteadyClock
from ftorch.jobs.engine import Engine
from ftorch.jobs.quiet import SEND_WINDOW, quiet_left
from ftorch.store import SqliteStore
from unit.jobs.cloud import CloudProvider
from unit.jobs.desk import Desk
from unit.jobs.test_faults import Pair

HOUR = 3600.0
LAG = timedelta(seconds=CloudProvider.capabilities.visibility_lag_s)
QUIET = SEND_WINDOW + timedelta(seconds=CloudProvider.capabilities.create_timeout_s) + LAG


class ServedStore(SqliteStore):
    """Rows that several hosts read, with a clock of their own as a server has it."""

    server = ManualClock()

    def reading(self, clock: Clock) -> Reading:
        return Reading("server", self.server.boot_s())


def restarted(desk: Desk) -> None:
    """A new process at the same rows: nothing that the old one held in memory is left."""
    desk.engine.close()
    desk.context = replace(desk.context, clock=SteadyClock(desk.clock), _first_looks={})
    desk.engine = Engine(desk.context)


def lost_create(desk: Desk) -> str:
    """A create whose answer was lost, and which lists show only at the end of the provider's lag."""
    desk.clock = Pair(desk.clock)
    desk.cloud.clock = desk.clock.theirs
    desk.cloud.faults = ["lost after create"]
    desk.cloud.hidden_until = desk.cloud.clock.now() + LAG - timedelta(seconds=1)
    job = desk.submit()
    restarted(desk)
    for _ in range(5):
        desk.engine.tick()
        desk.wait()
    assert len(desk.cloud.runs) == 1
    return job


def left(desk: Desk, job: str) -> timedelta:
    return quiet_left(desk.context, desk.runs(job)[0], CloudProvider.capabilities, desk.context.reading())


@pytest.mark.parametrize("hours", [-30, -2, 2, 30])
def test_a_new_process_does_not_believe_a_wall_clock_that_was_set(desk: Desk, hours: int) -> None:
    job = lost_create(desk)

    desk.clock.jump(hours * HOUR)
    restarted(desk)
    desk.clock.advance(2)
    desk.settle()
    desk.clock.advance(60)
    desk.settle()

    assert (len(desk.cloud.runs), desk.runs(job)[0].sends) == (1, 1)


def test_a_new_process_of_the_same_boot_waits_only_for_what_is_left(desk: Desk) -> None:
    job = lost_create(desk)
    desk.clock.jump(-2 * HOUR)
    desk.clock.advance(40)

    restarted(desk)

    assert left(desk, job) == QUIET - timedelta(seconds=40)


def test_after_a_reboot_the_whole_time_is_waited_from_the_first_look(desk: Desk) -> None:
    job = lost_create(desk)
    desk.clock.advance(50)
    desk.clock.reboot()
    desk.clock.advance(2 * HOUR)
    restarted(desk)

    first = left(desk, job)
    desk.clock.advance(20)

    assert (first, left(desk, job)) == (QUIET, QUIET - timedelta(seconds=20))


def test_a_row_of_an_earlier_version_is_waited_for_anew(desk: Desk) -> None:
    job = lost_create(desk)
    desk.context.change_run(desk.runs(job)[0], sent_reading=None)
    desk.clock.advance(HOUR)

    assert left(desk, job) == QUIET


def test_a_second_host_whose_clock_is_ahead_goes_by_the_server(desk: Desk) -> None:
    store = ServedStore(desk.context.home.root / "ftorch.db")
    desk.context = replace(desk.context, store=store)
    job = lost_create(desk)
    desk.clock = ManualClock(desk.clock.now() + timedelta(minutes=10))
    desk.clock.reboot()
    restarted(desk)

    store.server.advance(5)

    assert left(desk, job) == QUIET - timedelta(seconds=5)
    store.close()


def test_what_was_never_sent_from_here_has_no_quiet_time(desk: Desk) -> None:
    job = lost_create(desk)
    desk.context.change_run(desk.runs(job)[0], send_before=None)

    assert left(desk, job) == timedelta(0)


def test_a_run_that_no_list_shows_yet_is_not_lost_after_the_clock_was_set(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lost_create(desk)
    desk.cloud.hidden_until = None
    desk.clock.advance(6)
    desk.settle()
    monkeypatch.setattr(CloudProvider, "_run", lambda _self, _ref: None)

    desk.clock.jump(2 * HOUR)
    restarted(desk)
    for _ in range(4):
        desk.settle()
        desk.clock.advance(6)

    assert (desk.runs(job)[0].remote_id, desk.runs(job)[0].ended_at) == ("remote-1", None)
