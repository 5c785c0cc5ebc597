"""Modal's emulator and the provider on it, with a stand-in for the trainer that needs no process and no time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from contract.bills_contract import BillsBench, Expected
from contract.emulated import EmulatedBench, fault_table
from contract.provider_contract import DeadlineBench
from contract.stages_contract import StagesBench
from contract.wire_contract import Traffic, WireFault
from ftorch.core.clock import Clock, ManualClock, rfc3339
from ftorch.costs.items import Window
from ftorch.emulators.adapters import trained_files
from ftorch.emulators.modal import (
    OTHER_TOKEN_ID,
    OTHER_TOKEN_SECRET,
    TOKEN_ID,
    TOKEN_SECRET,
    WORKSPACE,
    Container,
    ModalEmulator,
    Sandbox,
    Service,
)
from ftorch.emulators.modal.bill import Row
from ftorch.emulators.modal.sandboxes import OOM_EXIT
from ftorch.emulators.modal.volumes import Volume
from ftorch.jobs.bundle import make_bundle
from ftorch.providers.base import Bills, Observation, RunOrder, RunRef, RunState, Stages
from ftorch.providers.modal import bills
from ftorch.providers.modal.provider import ModalProvider
from ftorch.providers.modal.settings import ID_VARIABLE, SECRET_VARIABLE, URL_VARIABLE, Settings
from unit.plans import plan

BOOT_S, STEP_S, STEPS = 5.0, 5.0, 12
MOUNT = "/ftorch"
_WEIGHTS = "adapter_model.safetensors"
_CREATE_DEADLINE_S = 3.0
_REPEATED = (WireFault.CREATE_ANSWER_DROPPED, WireFault.CREATE_ANSWER_503, WireFault.CREATE_DROPPED)
"""What Modal's client tries again by itself, with one idempotency key."""
_CLIENT_TRIES = 4
_CHANGES = ("SandboxCreate", "SandboxTerminate", "VolumePutFiles2", "VolumeRemoveFile2", "AppSetTags", "PUT /blocks")
_EVER = Window(ManualClock().now() - timedelta(days=1), ManualClock().now() + timedelta(days=1))


@dataclass
class _Job:
    """A container in which nobody works: its folder fills as time passes."""

    container: Container
    key: str
    app: str
    began: datetime
    told: Callable[[str], None]
    ended: Callable[[int], None]
    first_step: int = 0
    told_steps: int = 0
    has_begun: bool = False

    @property
    def volume(self) -> Volume:
        return self.container.volumes[MOUNT]

    @property
    def out(self) -> str:
        return f"runs/{self.key}/out"

    @property
    def mark(self) -> str:
        return f"{self.key}.{self.container.sandbox_id}.{self.app}"


class StandIn:
    """Runs no process: boots for 5 s, then 12 steps of 5 s each, a checkpoint at every fourth."""

    def __init__(self, clock: Clock, exhausts_at: int | None = None) -> None:
        self._clock = clock
        self._exhausts_at = exhausts_at
        """The step at which the kernel ends the trainer, for want of memory."""
        self._jobs: dict[str, _Job] = {}

    def start(self, container: Container, told: Callable[[str], None], ended: Callable[[int], None]) -> None:
        mount, key, app = container.argv[-3:]
        assert mount == MOUNT
        self._jobs[container.sandbox_id] = _Job(container, key, app, self._clock.now(), told, ended)

    def kill(self, sandbox_id: str, *, is_committed: bool) -> None:
        self._jobs.pop(sandbox_id, None)

    def fail(self, sandbox_id: str, words: str) -> None:
        """The trainer gives up by its own fault."""
        job = self._jobs[sandbox_id]
        self._event(job, "failed", type="TrainerError", message=words, hint=None, exit_code=70)
        self._end(job, 70)

    def look(self) -> None:
        for job in list(self._jobs.values()):
            self._advance(job)

    def close(self) -> None:
        """Nothing runs."""

    def _advance(self, job: _Job) -> None:
        worked_s = (self._clock.now() - job.began).total_seconds() - BOOT_S
        if worked_s < 0:
            return
        if not job.has_begun:
            self._begin(job)
        spec = json.loads(job.volume.read(f"runs/{job.key}/job.json"))
        step = min(job.first_step + int(worked_s // STEP_S), STEPS)
        if worked_s >= spec["max_duration_s"] and step < STEPS:
            self._event(job, "interrupted", reason="deadline", step=step)
            self._end(job, 75)
            return
        if self._exhausts_at is not None and step >= self._exhausts_at:
            self._step(job, self._exhausts_at)
            self._end(job, OOM_EXIT)
            return
        self._step(job, step)
        if step == STEPS:
            self._finish(job, spec)

    def _begin(self, job: _Job) -> None:
        job.has_begun = True
        begun = job.began + timedelta(seconds=BOOT_S)
        job.volume.write(f"started/{job.mark}", b"{}", begun)
        spec = json.loads(job.volume.read(f"runs/{job.key}/job.json"))
        job.first_step = self._resumed(job, spec["resume_from"])
        self._event(job, "started", at=begun, pid=1, attempt=1)
        job.told(f"started on step {job.first_step}\n")

    def _resumed(self, job: _Job, folder: str | None) -> int:
        if folder is None:
            return 0
        there = job.volume.entries(folder.removeprefix("../../"), recursive=True)
        steps = [
            int(entry.path.split("/")[-2].partition("-")[2]) for entry in there if entry.path.endswith(".complete")
        ]
        return max(steps)

    def _step(self, job: _Job, step: int) -> None:
        for number in range(max(job.told_steps, job.first_step) + 1, step + 1):
            job.told(f"step {number}/{STEPS}\n")
            if number % 4 == 0:
                job.volume.write(f"{job.out}/checkpoints/checkpoint-{number}/.complete", b"{}")
        job.told_steps = max(job.told_steps, step)
        beat = {"t": rfc3339(self._clock.now()), "phase": "train", "step": step, "total_steps": STEPS, "loss": 1.5}
        job.volume.write(f"{job.out}/heartbeat.json", json.dumps(beat).encode())

    def _finish(self, job: _Job, spec: Mapping[str, object]) -> None:
        lora = spec["lora"]
        assert isinstance(lora, dict)
        files = trained_files("builtin:tiny", lora["rank"], lora["alpha"], 1500)
        self._event(job, "succeeded", step=STEPS)
        for name, content in files.items():
            place = job.out if name == "result.json" else f"{job.out}/adapter"
            job.volume.write(f"{place}/{name}", content)
        self._end(job, 0)

    def _end(self, job: _Job, code: int) -> None:
        job.volume.write(f"ended/{job.mark}", json.dumps({"exit_code": code}).encode())
        del self._jobs[job.container.sandbox_id]
        job.ended(code)

    def _event(self, job: _Job, event: str, at: datetime | None = None, **fields: object) -> None:
        path = f"{job.out}/events.jsonl"
        before = job.volume.read(path) if job.volume.has(path) else b""
        line = json.dumps({"t": rfc3339(at or self._clock.now()), "event": event, **fields})
        job.volume.write(path, before + line.encode() + b"\n")


class ModalBench(EmulatedBench[ModalEmulator, ModalProvider], DeadlineBench, BillsBench, StagesBench):
    """Modal in memory; time passes when it is told to."""

    faults = fault_table(
        create=("SandboxCreate",),
        lists=("SandboxListV2",),
        single=("SandboxWait",),
        cancel=("SandboxTerminate",),
        downloads=(f"GET /files/{_WEIGHTS}",),
        without=(
            WireFault.LIST_GARBAGE,
            WireFault.LIST_UNKNOWN_STATUS,
            WireFault.DOWNLOAD_CUT,
            WireFault.DOWNLOAD_WITHOUT_RANGE,
        ),
    )
    key_variable = ID_VARIABLE
    key, other_key, refused_key = TOKEN_SECRET, OTHER_TOKEN_SECRET, "as-that-has-expired"
    moment_s = STEP_S
    late_s = _CREATE_DEADLINE_S + 1
    tries = _CLIENT_TRIES

    def __init__(self, emulator: ModalEmulator, work: StandIn, clock: ManualClock, folder: Path) -> None:
        (folder / "train.jsonl").write_text('{"prompt": "2 + 2", "completion": "4"}\n' * 32)
        one = plan(providers=("modal",))
        self._work = work
        self._folder = folder
        env = {ID_VARIABLE: TOKEN_ID, SECRET_VARIABLE: TOKEN_SECRET, URL_VARIABLE: emulator.url}
        super().__init__(emulator, clock, plan=one, bundle=make_bundle(one, folder), env=env)
        self.bills: Bills = self.provider
        self.stages: Stages = self.provider
        self.stages_of_another: Stages = self.of_another_account()

    @property
    def service(self) -> Service:
        return self.emulator.service

    def sandbox(self, ref: RunRef) -> Sandbox:
        return self.service.newest(ref.key)

    def fail(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self._work.fail(self.sandbox(ref).id, "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.service.preempt(self.sandbox(ref))
        return self.until(RunState.STOPPED, ref)

    def crash(self, ref: RunRef, code: int) -> None:
        """Its processes end, of themselves and without a word."""
        sandbox = self.sandbox(ref)
        self._work.kill(sandbox.id, is_committed=True)
        self.service.ended(sandbox, code)

    def damage(self, ref: RunRef) -> None:
        path = f"runs/{ref.key}/out/adapter/{_WEIGHTS}"
        content = self.volume.read(path)
        self.volume.write(path, content[:-1] + bytes([content[-1] ^ 1]))

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        super().script(fault, times=times * _CLIENT_TRIES if times and fault in _REPEATED else times)

    def traffic(self) -> Traffic:
        asked, calls = self.emulator.requests, self.emulator.calls
        return Traffic(
            creates=calls["SandboxCreate"],
            lists=asked["SandboxListV2"],
            singles=asked["SandboxWait"] + asked["SandboxTagsGet"],
            contents=asked["PUT /blocks"],
            writes=sum(asked[name] for name in _CHANGES),
            downloaded=self.emulator.bytes_sent[f"GET /files/{_WEIGHTS}"],
        )

    def made(self, key: str) -> int:
        return self.service.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        self.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        sandbox = self.sandbox(ref)
        self.service.forget(sandbox)
        self.volume.remove(f"runs/{ref.key}", recursive=True)
        for folder in ("started", "ended"):
            path = f"{folder}/{ref.key}.{sandbox.id}.{ref.place}"
            if self.volume.has(path):
                self.volume.remove(path, recursive=False)

    def fill(self) -> Expected:
        now = self.clock.now().replace(minute=0, second=0, microsecond=0)
        stranger = Row("ap-0123456789abcdefghijkl", "nightly-7b", now, {"H100": Decimal("3.1415926535")}, {"team": "a"})
        self.service.bill.add(WORKSPACE, stranger)
        self.service.bill.add(WORKSPACE, Row("vo-0123456789abcdefghijkl", "models", now, {"Storage": Decimal("0.004")}))
        for _ in range(4):
            self.submit()
            self.advance(1800)
        self.advance(3600)
        return Expected(_EVER, self._told(), page_size=4)

    def correct(self, source_ref: str, usd: Decimal) -> None:
        _, hour_text, key = source_ref.split("/")
        sandbox = self.service.newest(key)
        hours = {f"{hour:%Y%m%dT%H}": (hour, cost) for hour, cost in sandbox.costs(self.clock.now())}
        hour, cost = hours[hour_text]
        sandbox.surcharges[hour] = usd - sum(cost.values(), Decimal(0))
        self.wait()

    def fill_content(self) -> int:
        self.staged()
        for number in range(3):
            self.volume.write(f"bundles/{number:064x}/train.jsonl", b"{}")
        return 4

    def make_provider(self, url: str, key: str) -> ModalProvider:
        token_id = OTHER_TOKEN_ID if key == OTHER_TOKEN_SECRET else TOKEN_ID
        return ModalProvider(
            Settings(token_id, key, url),
            self.clock,
            self._folder / "logs",
            deadline_s=10.0 if url == self.url else 1.0,  # elsewhere is nobody to wait for
            create_deadline_s=_CREATE_DEADLINE_S,
        )

    @property
    def volume(self) -> Volume:
        return next(iter(self.service.volumes.values()))

    def _told(self) -> dict[str, Decimal]:
        """Every row of the bill as we refer to it: what runs have used, and for each object and hour the rest."""
        told: dict[str, Decimal] = {}
        for row in self.service.rows(WORKSPACE):
            told[bills.reference(row.object_id, row.hour)] = (
                Decimal(0) if row.description.startswith("ftorch") else row.usd
            )
        for sandbox in self.service.of_account(WORKSPACE):
            for hour, cost in sandbox.costs(self.clock.now()):
                ref = f"{bills.reference(sandbox.order.app_id, hour)}/{sandbox.order.name}"
                told[ref] = sum(cost.values(), Decimal(0))
        return told
