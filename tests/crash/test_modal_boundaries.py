"""The engine dies at every kind of call to Modal, and each run is paid once, booked once and leaves nothing behind.

Modal's own client talks to its emulator; time stands still until it is moved, so a death between an intent and its
create, which waits out half an hour, takes no longer than any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from contract.modal_bench import StandIn
from crash.world import Fate, Inline, Killed
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.modal import TOKEN_ID, TOKEN_SECRET, WORKSPACE, ModalEmulator, Sandbox
from ftorch.emulators.modal.sandboxes import Status
from ftorch.jobs.admit import ask_cancel
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.schema import Resources
from ftorch.providers.modal.provider import ModalProvider
from ftorch.providers.modal.sdk import Call, Sdk
from ftorch.providers.modal.settings import Settings
from ftorch.providers.modal.site import Site
from ftorch.store import SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk
from unit.plans import plan

Value = TypeVar("Value")

INSTALLATION = "abc123"
_TURN_S = 15.0
_SETTLED_AFTER_S = 1800.0
STORIES: Mapping[str, Mapping[str, Any]] = {
    "undisturbed": {},
    "its sandbox finishes while nobody is there": {"away_s": 3600.0},
    "it finishes unseen in a workspace without statistics": {"away_s": 3600.0, "has_statistics": False},
    "its machine is taken away": {"preempt": True},
    "it is cancelled": {"cancel": True},
    "it wants more memory than there is": {"exhausts_at": 6},
}


class MortalSdk(Sdk):
    """Modal's client, each of whose calls is a boundary before and after."""

    def __init__(self, settings: Settings, fate: Fate) -> None:
        super().__init__(settings)
        self._fate = fate

    def raw(self, call: Call[Value], *, deadline_s: float | None = None) -> Value:
        name = call.__qualname__.partition(".<locals>")[0]
        self._fate.boundary(f"{name} asked")
        answer = super().raw(call, deadline_s=deadline_s)
        self._fate.boundary(f"{name} answered")
        return answer


class MortalModal(ModalProvider):
    """The provider over such a client."""

    def __init__(self, settings: Settings, clock: ManualClock, logs: Path, fate: Fate) -> None:
        super().__init__(settings, clock, logs)
        self._opened = Site(MortalSdk(settings, fate), settings, clock, logs, 30.0)


@dataclass
class ModalWorld:
    """One job at Modal from submit to settlement, in as many lives as it takes."""

    folder: Path
    fate: Fate
    away_s: float = 0.0
    has_statistics: bool = True
    """Without them a run is charged by measured time, which knows nothing of its boot."""
    preempt: bool = False
    cancel: bool = False
    exhausts_at: int | None = None
    """The step at which its memory gives out, in every run."""
    lives: int = 1
    clock: ManualClock = field(default_factory=ManualClock)

    def live(self) -> None:
        self.folder.mkdir(parents=True)
        work = StandIn(self.clock, self.exhausts_at)
        with ModalEmulator(self.clock, folder=self.folder / "modal", work=work) as self.emulator:
            self._live()

    def _live(self) -> None:
        self.emulator.service.has_billing = self.has_statistics
        quiet, self.fate = self.fate, Fate()
        desk, provider = self._born()
        desk.context.store.write(lambda tx: tx.put_meta(f"mark/modal/{WORKSPACE}", "ft-abc123-earlier"))
        self.job = desk.submit(plan(providers=("modal",), resources=Resources(gpu=("T4",))), provider="modal")
        self._dies(desk, provider)
        self.fate = quiet
        desk, provider = self._born()
        for _ in range(400):
            try:
                desk.settle()
                if self._is_over(desk):
                    break
                self._interfere(desk)
                self.clock.advance(_SETTLED_AFTER_S if desk.job(self.job).ended_at else _TURN_S)
            except Killed:
                self.lives += 1
                self._dies(desk, provider)
                self.clock.advance(self.away_s or 5.0)
                desk, provider = self._born()
        else:
            raise AssertionError(f"the job does not end: {desk.job(self.job)}")
        self.rows = desk.job(self.job), desk.runs(self.job), desk.context.store.ledger_of(self.job)
        self.sandboxes = list(self.emulator.service.sandboxes.values())
        self._dies(desk, provider)

    def faults(self) -> list[str]:
        """What is wrong at the end: empty when each run was paid once, booked once and left nothing behind."""
        job, runs, ledger = self.rows
        owed = Counter({one.order.name: self._cost(one) for one in self.sandboxes})
        booked: Counter[str] = Counter()
        for entry in ledger:
            booked[entry.run_key or ""] += entry.amount_micro
        names = Counter(one.order.name for one in self.sandboxes)
        return [
            *(f"job {job.state}: {job.reason}" for _ in [0] if job.state not in self._wanted),
            *(f"{count} sandboxes for {name}" for name, count in names.items() if count > 1),
            *(f"{one.id} is left running" for one in self.sandboxes if not one.is_over),
            *(
                f"{one}: owed {owed[one]}, booked {booked[one]}"
                for one in owed | booked
                if self._is_wrong(owed[one], booked[one])
            ),
            *(f"{run.key} holds {run.hold_micro}" for run in runs if run.hold_micro or run.settled_at is None),
        ]

    def _is_wrong(self, owed: int, booked: int) -> bool:
        return owed != booked if self.has_statistics else not owed * 0.8 <= booked <= owed

    @property
    def _wanted(self) -> tuple[str, ...]:
        if self.exhausts_at is not None:
            return ("failed",)
        # Who asks for the end may die first, and the training ends meanwhile: its adapter is paid for and comes home.
        was_too_late = any(one.status is Status.SUCCESS for one in self.sandboxes)
        return ("cancelled",) if self.cancel and not was_too_late else ("succeeded",)

    def _cost(self, sandbox: Sandbox) -> int:
        return Money(sum(usd for _, cost in sandbox.costs(self.clock.now()) for usd in cost.values())).micro  # type: ignore[arg-type]  # Decimals

    def _born(self) -> tuple[Desk, MortalModal]:
        settings = Settings(TOKEN_ID, TOKEN_SECRET, self.emulator.url)
        provider = MortalModal(settings, self.clock, self.folder / "logs", self.fate)
        context = Context(
            store=SqliteStore.open(self.folder / "ftorch.db"),
            clock=self.clock,
            ids=Ids(),
            home=Home(self.folder),
            installation=INSTALLATION,
            env={},
            open_provider=lambda _name: provider,
        )
        return Desk(context, Cloud(self.clock), self.clock, Engine(context, pool=Inline)), provider

    def _dies(self, desk: Desk, provider: MortalModal) -> None:
        """The process is gone, and so are its connections."""
        desk.context.store.close()
        with self.fate.asleep():
            provider.close()

    def _interfere(self, desk: Desk) -> None:
        """In the middle of the first run: take its machine away, or change one's mind."""
        first = next(iter(self.emulator.service.sandboxes.values()), None)
        if first is None or first.is_over or (self.clock.now() - first.created_at).total_seconds() < 30:
            return
        if self.cancel:
            ask_cancel(desk.context, self.job)
        elif self.preempt:
            self.preempt = False
            self.emulator.service.preempt(first)

    def _is_over(self, desk: Desk) -> bool:
        is_settled = all(run.settled_at for run in desk.runs(self.job))
        return desk.job(self.job).ended_at is not None and is_settled


def first_and_last(passed: list[str]) -> Iterator[int]:
    """The numbers of the first and the last boundary of each name."""
    for name in dict.fromkeys(passed):
        numbers = [number for number, one in enumerate(passed, start=1) if one == name]
        yield from dict.fromkeys((numbers[0], numbers[-1]))


@pytest.mark.parametrize("story", STORIES)
def test_a_death_at_any_call_costs_nothing_and_loses_nothing(story: str, tmp_path: Path) -> None:
    undisturbed = ModalWorld(tmp_path / "undisturbed", Fate(), **STORIES[story])
    undisturbed.live()
    assert undisturbed.faults() == []
    wrong: dict[str, list[str]] = {}
    deaths = list(first_and_last(undisturbed.fate.passed))

    for number in deaths:
        world = ModalWorld(tmp_path / str(number), Fate({number}), **STORIES[story])
        world.live()
        if faults := world.faults():
            wrong[f"{number}: {world.fate.met}"] = faults

    assert wrong == {}
    assert len(deaths) > 20
    assert any(name.startswith("create") for name in undisturbed.fate.passed)


def test_out_of_memory_at_the_same_step_twice_ends_the_job_with_the_reason(tmp_path: Path) -> None:
    world = ModalWorld(tmp_path / "world", Fate(), exhausts_at=6)

    world.live()

    job, runs, _ = world.rows
    assert world.faults() == []
    assert [(run.state, run.exit_code) for run in runs] == [("stopped", 137), ("failed", 137)]
    assert runs[1].resume_from == runs[0].key
    assert job.reason == "training_failed"
    assert "killed at step 6 again, as the run before: out of memory; raise provider.modal.memory_gib" in runs[1].detail
