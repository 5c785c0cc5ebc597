"""A machine of the user's in the suites: a real sshd, real processes, a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from contract.boxes import running_box, train_badly, train_well
from contract.keys_contract import ChosenIdContract
from contract.provider_contract import DeadlineBench, DeadlineContract, ProviderContract
from contract.rows import plan_with_rows
from contract.wire_contract import NetworkContract, ResumeContract, Traffic, WireBench, WireFault
from e2e.shell import kill
from ftorch.core.clock import SystemClock
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.boxes.box import Box
from ftorch.providers.base import Observation, Provider, RunOrder, RunRef, RunState
from ftorch.providers.ssh.link import Link
from ftorch.providers.ssh.provider import SshProvider

_MOMENT_S = 0.03
_ANSWER_S = 3.0
_READS = ("read", "keys")
_FAULTS: Mapping[WireFault, tuple[tuple[str, ...], str]] = {
    WireFault.CREATE_ANSWER_DROPPED: (("make",), "drop_after"),
    WireFault.CREATE_ANSWER_503: (("make",), "failed_after"),
    WireFault.CREATE_ANSWER_LATE: (("make",), "slow"),
    WireFault.CREATE_ANSWER_GARBAGE: (("make",), "garbage"),
    WireFault.CREATE_DROPPED: (("make",), "drop_before"),
    WireFault.LIST_FAILS: (_READS, "failed_after"),
    WireFault.LIST_DROPPED: (_READS, "drop_before"),
    WireFault.LIST_SHUFFLED: ((), "nothing"),  # runs are asked for by name
    WireFault.SINGLE_FAILS: ((), "nothing"),
    WireFault.CANCEL_FAILS: (("cancel",), "failed_after"),
    WireFault.DOWNLOAD_CUT: (("send",), "cut"),
    WireFault.DOWNLOAD_DAMAGED: (("send",), "damaged"),
}
_WRITES = ("make", "take", "start", "cancel", "mark", "release")


class SshBench(WireBench, DeadlineBench):
    """A box whose time is ours: waiting is short and bounded."""

    patience = 600

    def __init__(self, box: Box, folder: Path) -> None:
        self._box = box
        self._home = Home(folder / "home")
        self._opened: list[SshProvider] = []
        self._finished: RunRef | None = None
        place = f"{box.user}@{box.address}"
        one, bundle = plan_with_rows(
            folder / "dataset",
            providers=("ssh",),
            options={"ssh": {"host": place, "parallel": 64}},
            declared_rates={"ssh": Money.parse("0.36 USD")},
        )
        env = {"HOME": str(folder), "FTORCH_HOME": str(self._home.root), "PATH": os.environ["PATH"]}
        provider = self._provider(env)
        super().__init__(provider, clock=SystemClock(), plan=one, bundle=bundle, env=env)

    @property
    def key_variable(self) -> str:
        raise NotImplementedError("ssh has no key of ours")

    def wait(self) -> None:
        time.sleep(_MOMENT_S)

    def advance(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.2))

    def finished(self) -> RunRef:
        if self._finished is None:
            self._finished = super().finished()
        return self._finished

    def fail(self, ref: RunRef) -> Observation:
        train_badly(self._box)
        self.start(ref)
        seen = self.until(RunState.FAILED, ref)
        train_well(self._box)
        return seen

    def kill(self, ref: RunRef) -> Observation:
        self.start(ref)
        while self.provider.observe([ref])[ref].billable_from is None:
            self.wait()
        kill(json.loads((self._run(ref) / "process.json").read_text())["pid"])
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        weights = self._run(ref) / "out" / "adapter" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=1)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        verbs, what = _FAULTS[fault]
        for verb in verbs:
            self._box.fault(verb, what, times=times, value=str(_ANSWER_S + 2))

    def heal(self) -> None:
        self._box.heal()

    def traffic(self) -> Traffic:
        asked = self._box.asked()
        return Traffic(
            creates=asked["make"],
            lists=sum(asked[verb] for verb in _READS),
            singles=0,
            contents=asked["take"],
            writes=sum(asked[verb] for verb in _WRITES),
            downloaded=self._box.sent(),
        )

    def made(self, key: str) -> int:
        return int((self._runs / key).is_dir())

    def hide_new_runs(self, seconds: float) -> None:
        assert seconds == 0, "a folder is seen as soon as it is there"

    def vanish(self, ref: RunRef) -> None:
        if (process := self._run(ref) / "process.json").exists():
            kill(json.loads(process.read_text())["pid"])
        shutil.rmtree(self._run(ref))

    def unreachable(self) -> Provider:
        home = Path(self.env["HOME"]) / "elsewhere"
        shutil.copytree(Path(self.env["HOME"]) / ".ssh", home / ".ssh", dirs_exist_ok=True)
        (home / ".ssh" / "config").write_text(f"Host {self._box.address}\n  Port 1\n")
        return self._provider({**self.env, "HOME": str(home)})

    def with_refused_key(self) -> Provider:
        raise NotImplementedError("ssh has no key of ours")

    def of_another_account(self) -> Provider:
        raise NotImplementedError("ssh has one account")

    def close(self) -> None:
        for provider in self._opened:
            provider.close()

    def _provider(self, env: Mapping[str, str]) -> SshProvider:
        self._opened.append(SshProvider(self._home, env, SystemClock(), Link("ssh"), answer_s=_ANSWER_S))
        return self._opened[-1]

    @property
    def _runs(self) -> Path:
        return self._box.home / "ftorch" / "runs"

    def _run(self, ref: RunRef) -> Path:
        return self._runs / ref.key


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Path]]:
    folder = tmp_path_factory.mktemp("ssh")
    with running_box(folder / "box", folder) as running:
        yield running, folder


@pytest.fixture(scope="module")
def shared(box: tuple[Box, Path]) -> Iterator[SshBench]:
    made = SshBench(*box)
    yield made
    made.close()


@pytest.fixture
def bench(shared: SshBench) -> Iterator[SshBench]:
    yield shared
    shared.heal()


class TestSshAsProvider(ProviderContract):
    """Everything that is asked of a provider."""


class TestSshDeadline(DeadlineContract):
    """The trainer stops in time."""


class TestSshKeys(ChosenIdContract):
    """A run's folder is named by its key."""


class TestSshResumes(ResumeContract):
    """A file that was cut goes on."""


class TestSshOnTheNetwork(NetworkContract):
    """Everything that can happen to a connection."""
