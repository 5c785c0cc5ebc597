"""Ray's emulator where no provider looks: trainings that take their time or fail, and jobs that are not ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.ray_bench import RayBench
from ftorch.core.clock import ManualClock
from ftorch.emulators.adapters import trained_files
from ftorch.emulators.ray import RayEmulator
from ftorch.emulators.training import Outcome, Work
from ftorch.providers.base import RunState


class Slow:
    """A training that is done when the test says so."""

    def __init__(self) -> None:
        self.started: list[Work] = []
        self.done: Outcome | None = None

    def start(self, work: Work) -> None:
        self.started.append(work)

    def outcome(self, _work: Work) -> Outcome | None:
        return self.done

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def training() -> Slow:
    return Slow()


@pytest.fixture
def bench(training: Slow, tmp_path: Path) -> Iterator[RayBench]:
    clock = ManualClock()
    with RayEmulator(clock, training=training) as emulator:
        bench = RayBench(emulator, clock, tmp_path)
        yield bench
        bench.close()


def test_a_training_that_needs_longer_keeps_its_job_running(bench: RayBench, training: Slow, tmp_path: Path) -> None:
    ref = bench.running()
    bench.advance(1000)
    before = bench.provider.observe([ref])[ref].state

    training.done = Outcome(trained_files("builtin:tiny", 4, 8, 500), (1.0,))
    bench.advance(2)

    assert before is RunState.RUNNING
    assert bench.provider.observe([ref])[ref].state is RunState.SUCCEEDED
    assert bench.provider.fetch(ref, tmp_path / "home").files


def test_a_training_that_fails_fails_its_job_with_its_words(bench: RayBench, training: Slow) -> None:
    training.done = Outcome({}, (), error="CUDA out of memory")

    seen = bench.until(RunState.FAILED, bench.submit())

    assert "CUDA out of memory" in seen.detail


def test_what_is_trained_is_what_the_package_holds(bench: RayBench, training: Slow) -> None:
    bench.running()

    [work] = training.started
    assert (work.method, len(work.rows), work.rank, work.values["batch_size"]) == ("sft", 64, 4, 8)


def test_jobs_of_others_run_beside_ours_and_are_nobodys(bench: RayBench, training: Slow) -> None:
    emulator = bench.emulator
    emulator.cluster.create({"entrypoint": "python train.py", "submission_id": "nightly"})
    bench.advance(5)

    assert emulator.cluster.job("nightly").status(bench.clock.now()) == "RUNNING"
    assert list(bench.provider.owned("bench1")) == []
    assert training.started == []
