"""This machine in the suite that every provider keeps to: real processes, the real trainer, the tiny model."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.keys_contract import ChosenIdContract
from contract.provider_contract import DeadlineBench, DeadlineContract, ProviderContract
from contract.rows import plan_with_rows
from e2e.shell import kill
from ftorch.core.clock import SystemClock
from ftorch.core.money import Money
from ftorch.providers.base import Observation, RunOrder, RunRef, RunState
from ftorch.providers.local.provider import LocalProvider

_MOMENT_S = 0.05


class LocalBench(DeadlineBench):
    """Processes have no clock that could be moved: waiting is short and bounded."""

    patience = 1200

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._finished: RunRef | None = None
        one, bundle = plan_with_rows(
            folder / "dataset",
            options={"local": {"parallel": 32}},
            declared_rates={"local": Money.parse("0.36 USD")},
        )
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "FTORCH_HOME": str(self._home)}
        super().__init__(LocalProvider.from_env(env), clock=SystemClock(), plan=one, bundle=bundle, env=env)

    def wait(self) -> None:
        time.sleep(_MOMENT_S)

    def fail(self, ref: RunRef) -> Observation:
        path = self._folder(ref) / "job.json"
        spec = json.loads(path.read_text())
        path.write_text(json.dumps({**spec, "train_sha256": "0" * 64}))
        self.start(ref)
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.start(ref)
        # Before its first event is whole, a dead trainer has not begun, and its run would be started again.
        while self.provider.observe([ref])[ref].billable_from is None:
            self.wait()
        kill(self._pid(ref))
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        weights = self._folder(ref) / "out" / "adapter" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=1)

    def finished(self) -> RunRef:
        if self._finished is None:
            self._finished = super().finished()
        return self._finished

    def end_all(self) -> None:
        """End the trainers that tests left at work."""
        for path in self._home.glob("runs/*/process.json"):
            kill(json.loads(path.read_text())["pid"], signal.SIGKILL)

    def _folder(self, ref: RunRef) -> Path:
        return self._home / "runs" / ref.key

    def _pid(self, ref: RunRef) -> int:
        return int(json.loads((self._folder(ref) / "process.json").read_text())["pid"])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBench]:
    made = LocalBench(tmp_path_factory.mktemp("local"))
    yield made
    made.end_all()


class TestLocal(ProviderContract):
    """Everything that is asked of a provider."""


class TestLocalDeadline(DeadlineContract):
    """The trainer stops in time."""


class TestLocalKeys(ChosenIdContract):
    """A run's folder is named by its key."""
