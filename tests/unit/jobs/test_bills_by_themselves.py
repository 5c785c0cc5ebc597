"""A daemon that stays brings the bills up to date by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ftorch.core.errors import ProviderUnavailableError
from ftorch.costs.items import LineItem, Window
from ftorch.jobs.walks import PULL_EVERY_S
from unit.jobs.cloud import CloudProvider
from unit.jobs.desk import Desk


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """The windows of the bill that the provider was asked for."""
    windows: list[Window] = []

    def line_items(_provider: CloudProvider, window: Window) -> Iterator[LineItem]:
        windows.append(window)
        return iter(())

    monkeypatch.setattr(CloudProvider, "line_items", line_items, raising=False)
    return windows


def later(desk: Desk, seconds: float) -> None:
    desk.clock.advance(seconds)
    desk.settle()


def test_the_bill_is_read_every_six_hours(desk: Desk, asked: list[Window]) -> None:
    desk.finish(desk.submit())
    before = len(asked)

    later(desk, PULL_EVERY_S)
    once = len(asked)
    later(desk, PULL_EVERY_S / 2)

    assert (before, once > 0, len(asked)) == (0, True, once)
    later(desk, PULL_EVERY_S / 2)
    assert len(asked) > once


def test_a_bill_that_cannot_be_read_is_tried_again_six_hours_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Window] = []

    def line_items(_provider: CloudProvider, window: Window) -> Iterator[LineItem]:
        tries.append(window)
        raise ProviderUnavailableError("it does not answer", provider="cloud", operation="line_items")

    monkeypatch.setattr(CloudProvider, "line_items", line_items, raising=False)
    desk.finish(desk.submit())

    later(desk, PULL_EVERY_S)
    later(desk, 60)
    once = len(tries)
    later(desk, PULL_EVERY_S)

    assert (once, len(tries)) == (1, 2)


def test_a_provider_where_nothing_ever_ran_is_not_asked(desk: Desk, asked: list[Window]) -> None:
    later(desk, PULL_EVERY_S)

    assert asked == []
