"""The suites of `tests/contract` on a real Ray head, with a stand-in for the trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.head import Head
from cluster.stand_in import put_in
from contract.keys_contract import ChosenIdContract
from contract.provider_contract import Bench, DeadlineBench, DeadlineContract, ProviderContract
from contract.rows import plan_with_rows
from e2e.shell import kill
from ftorch.core.clock import SystemClock
from ftorch.core.money import Money
from ftorch.providers.base import Observation, RunOrder, RunRef, RunState
from ftorch.providers.ray.provider import RayProvider

_MOMENT_S = 0.1
_WAITS = 99


class RealBench(DeadlineBench):
    """A real head, on which a job takes about three seconds."""

    patience = 1200

    def __init__(self, head: Head, settings: Path, folder: Path) -> None:
        self._head = head
        self._settings = settings
        self._finished: RunRef | None = None
        one, bundle = plan_with_rows(
            folder / "dataset",
            providers=("ray",),
            options={"ray": {"cpu": True}},
            declared_rates={"ray": Money.parse("3.60 USD")},
        )
        env = {"RAY_ADDRESS": head.url, "FTORCH_HOME": str(folder / "home")}
        provider = RayProvider.from_env(env)
        super().__init__(provider, clock=SystemClock(), plan=one, bundle=bundle, env=env)

    def wait(self) -> None:
        time.sleep(_MOMENT_S)

    def finished(self) -> RunRef:
        if self._finished is None:
            self._finished = super().finished()
        return self._finished

    def fail(self, ref: RunRef) -> Observation:
        self._settings.write_text(json.dumps({"fail": "the loss is not a number"}))
        seen = self.until(RunState.FAILED, ref)
        self._settings.write_text("{}")
        return seen

    def kill(self, ref: RunRef) -> Observation:
        """The driver and the trainer are killed, as the kernel does when memory runs out."""
        self.until(RunState.RUNNING, ref)
        while self.provider.observe([ref])[ref].billable_from is None:
            self.wait()
        for pid in self._of_run(ref.key):
            kill(pid)
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        weights = self._head.runs / ref.key / "adapter" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=1)

    def _of_run(self, key: str) -> list[int]:
        """The driver of a run and its trainer: they have the run's key in their environment."""
        wanted = f"FTORCH_RUN_KEY={key}".encode()
        return [pid for pid in self._head.processes() if wanted in _file(pid, "environ").split(b"\0")]


def _file(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head(cpus=_WAITS) as head:
        yield head


@pytest.fixture(scope="module")
def shared(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBench]:
    folder = tmp_path_factory.mktemp("ray")
    settings = folder / "instant.json"
    settings.write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        put_in(patch, settings)
        made = RealBench(head, settings, folder)
        yield made
        made.provider.close()


@pytest.fixture
def bench(shared: RealBench) -> RealBench:
    return shared


class TestRealRayAsProvider(ProviderContract):
    """Everything that is asked of a provider."""

    def test_a_run_cancelled_before_it_started_never_runs(self, bench: Bench) -> None:
        """Ray starts a job by itself, so it may have had a moment: less than a millionth of a dollar's worth."""
        ref = bench.submit()

        bench.provider.cancel(ref)
        bench.start(ref)

        bench.until(RunState.STOPPED, ref)
        assert sum(item.amount.micro for item in bench.provider.charges(ref, ())) <= 1


class TestRealRayDeadline(DeadlineContract):
    """The trainer stops in time."""


class TestRealRayKeys(ChosenIdContract):
    """The key is the job's id."""
