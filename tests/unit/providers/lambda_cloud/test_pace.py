"""One pace for all processes of an installation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import ProviderUnavailableError
from ftorch.core.paths import Home
from ftorch.providers.lambda_cloud.pace import Pacer


def moments(clock: ManualClock, *turns: object) -> list[float]:
    begin = clock.boot_s()
    found = []
    for turn in turns:
        turn()  # type: ignore[operator]  # a turn of a pacer
        found.append(clock.boot_s() - begin)
    return found


def test_requests_are_a_second_apart_whoever_sends_them(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = Pacer(Home(tmp_path), clock), Pacer(Home(tmp_path), clock)

    assert moments(clock, first.request, second.request, first.request) == [0, 1, 2]


def test_launches_are_twelve_seconds_apart_and_count_as_requests(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = Pacer(Home(tmp_path), clock), Pacer(Home(tmp_path), clock)
    late = clock.now() + timedelta(hours=1)

    assert moments(clock, lambda: first.launch(late), second.request, lambda: second.launch(late), first.request) == [
        0,
        1,
        12,
        13,
    ]


def test_a_launch_waits_for_the_turn_of_a_request_too(tmp_path: Path) -> None:
    clock = ManualClock()
    pacer = Pacer(Home(tmp_path), clock)

    assert moments(clock, pacer.request, lambda: pacer.launch(clock.now() + timedelta(minutes=1))) == [0, 1]


def test_a_launch_whose_turn_comes_too_late_is_not_waited_for(tmp_path: Path) -> None:
    clock = ManualClock()
    pacer = Pacer(Home(tmp_path), clock)
    pacer.launch(clock.now())

    with pytest.raises(ProviderUnavailableError, match="nothing was sent"):
        pacer.launch(clock.now() + timedelta(seconds=11))

    assert clock.boot_s() == ManualClock().boot_s()


def test_a_pause_that_is_over_is_not_waited_for(tmp_path: Path) -> None:
    clock = ManualClock()
    pacer = Pacer(Home(tmp_path), clock)
    pacer.request()
    clock.advance(60)

    assert moments(clock, pacer.request) == [0]


def test_a_clock_that_was_set_back_stops_nobody(tmp_path: Path) -> None:
    clock = ManualClock()
    pacer = Pacer(Home(tmp_path), clock)
    pacer.request()
    clock.jump(-86_400)

    assert moments(clock, pacer.request) == [0]
