"""A create that blocks until there is a machine: it can be cancelled, and nothing else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from ftorch.jobs.admit import ask_cancel
from ftorch.jobs.engine import Engine
from ftorch.providers.base import RunOrder, RunRef, RunState
from unit.jobs.cloud import Cloud, CloudProvider
from unit.jobs.desk import Desk


class BlockingProvider(CloudProvider):
    """Its create makes the run at once, and returns when the run has a machine or has ended."""

    capabilities = replace(CloudProvider.capabilities, create_timeout_s=1300.0)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.returns = threading.Event()

    def submit(self, order: RunOrder) -> RunRef:
        ref = super().submit(order)
        assert self.returns.wait(30), "the create was never ended"
        return ref

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """Only what lives is in a list; what its create returns is all that is known of one that has ended."""
        living = {run.id for run in self._cloud.runs if run.ended_at is None}
        found = super().find(keys)
        return {key: [ref for ref in refs if ref.remote_id in living] for key, refs in found.items()}

    def cancel(self, ref: RunRef) -> None:
        super().cancel(ref)
        self.returns.set()


@pytest.fixture
def blocking(desk: Desk) -> Iterator[tuple[Desk, BlockingProvider]]:
    provider = BlockingProvider(desk.cloud)
    context = replace(desk.context, open_provider=lambda _name: provider)
    one = Desk(context, desk.cloud, desk.clock, Engine(context))
    yield one, provider
    provider.returns.set()
    one.wait()


def submitted(desk: Desk) -> str:
    """A job whose create is under way and does not return."""
    job = desk.submit()
    for _ in range(200):
        desk.engine.tick()
        if desk.cloud.runs:
            return job
        threading.Event().wait(0.01)
    raise AssertionError("nothing was created")


def test_a_run_whose_create_still_blocks_can_be_cancelled(blocking: tuple[Desk, BlockingProvider]) -> None:
    desk, _ = blocking
    job = submitted(desk)

    ask_cancel(desk.context, job)
    desk.clock.advance(11)
    desk.engine.tick()
    desk.wait()

    assert desk.cloud.runs[0].state is RunState.STOPPED
    assert desk.finish(job).state == "cancelled"
    assert len(desk.cloud.runs) == 1


def test_a_create_that_takes_a_moment_is_not_disturbed(blocking: tuple[Desk, BlockingProvider]) -> None:
    desk, _ = blocking
    job = submitted(desk)

    ask_cancel(desk.context, job)
    desk.clock.advance(5)
    desk.engine.tick()

    assert desk.cloud.asked["cancel"] == 0


def test_a_create_that_is_wanted_is_not_disturbed(blocking: tuple[Desk, BlockingProvider]) -> None:
    desk, _ = blocking
    submitted(desk)

    desk.clock.advance(600)
    desk.engine.tick()

    assert desk.cloud.asked["cancel"] == 0
