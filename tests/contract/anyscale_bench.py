"""Anyscale's emulator and the provider on it, with a stand-in for the entrypoint that needs no process and no time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from contract.bills_contract import BillsBench, Expected
from contract.bucket import BucketFault, open_bucket
from contract.provider_contract import DeadlineBench
from contract.rows import plan_with_rows
from contract.wire_contract import RETRY_AFTER_S, Traffic, WireBench, WireFault
from ftorch.core.clock import Clock, ManualClock, rfc3339
from ftorch.costs.items import Window
from ftorch.emulators.adapters import damaged, trained_files
from ftorch.emulators.anyscale import ORGANISATION, OTHER_TOKEN, TOKEN, AnyscaleEmulator, Service
from ftorch.emulators.anyscale.accounts import ACCOUNTS, COLLEAGUE_TOKEN
from ftorch.emulators.anyscale.emulator import CREATE, GET, LIST, TERMINATE
from ftorch.emulators.anyscale.jobs import Job
from ftorch.emulators.entrypoints import Ended, Entrypoint, Told
from ftorch.emulators.server import Fault
from ftorch.providers.anyscale.bills import reference
from ftorch.providers.anyscale.provider import AnyscaleProvider
from ftorch.providers.anyscale.settings import HOST_VARIABLE, TOKEN_VARIABLE, cookie
from ftorch.providers.base import Bills, Observation, Provider, RunOrder, RunRef, RunState
from ftorch.providers.http import Http

STEP_S, STEPS = 5.0, 12
_WEIGHTS = "adapter_model.safetensors"
_FAULTS: Mapping[WireFault, tuple[str, Fault]] = {
    WireFault.CREATE_ANSWER_DROPPED: (CREATE, Fault.DROP_AFTER),
    WireFault.CREATE_ANSWER_503: (CREATE, Fault.UNAVAILABLE_AFTER),
    WireFault.CREATE_ANSWER_LATE: (CREATE, Fault.SLOW),
    WireFault.CREATE_ANSWER_GARBAGE: (CREATE, Fault.GARBAGE),
    WireFault.CREATE_DROPPED: (CREATE, Fault.DROP_BEFORE),
    WireFault.CREATE_LIMITED: (CREATE, Fault.RATE_LIMITED),
    WireFault.CREATE_REJECTED: (CREATE, Fault.REJECT),
    WireFault.CREATE_KEY_REFUSED: (CREATE, Fault.REFUSED_KEY),
    WireFault.LIST_FAILS: (LIST, Fault.ERROR),
    WireFault.LIST_DROPPED: (LIST, Fault.DROP_BEFORE),
    WireFault.LIST_GARBAGE: (LIST, Fault.GARBAGE),
    WireFault.LIST_LIMITED: (LIST, Fault.RATE_LIMITED),
    WireFault.LIST_UNKNOWN_STATUS: (LIST, Fault.UNKNOWN_STATUS),
    WireFault.LIST_SHUFFLED: (LIST, Fault.SHUFFLED),
    WireFault.SINGLE_FAILS: (GET, Fault.ERROR),
    WireFault.CANCEL_FAILS: (TERMINATE, Fault.UNAVAILABLE_AFTER),
}
_DOWNLOADS: Mapping[WireFault, BucketFault] = {
    WireFault.DOWNLOAD_CUT: BucketFault.CUT,
    WireFault.DOWNLOAD_DAMAGED: BucketFault.DAMAGED,
}
_VALUES = {Fault.RATE_LIMITED: str(RETRY_AFTER_S), Fault.SLOW: "3"}
_UPLOAD = "PUT /storage/{id}"
_WRITES = (CREATE, TERMINATE, _UPLOAD, "POST /api/v2/compute_templates/")
_EVER = Window(ManualClock().now() - timedelta(days=2), ManualClock().now() + timedelta(days=2))


@dataclass
class _Attempt:
    """An entrypoint at which nobody works: its folder fills as time passes."""

    env: Mapping[str, str]
    spec: Mapping[str, Any]
    folder: Path
    began: datetime
    told: Told
    ended: Ended
    first_step: int = 0
    told_steps: int = 0
    events: list[dict[str, object]] = field(default_factory=list)

    @property
    def limit_s(self) -> float | None:
        limit: float | None = json.loads(self.env["FTORCH_CHANGES"])["max_duration_s"]
        return limit


class StandIn:
    """Runs no process: a runner and its trainer as their folder shows them, 12 steps of 5 s, a checkpoint each 4th."""

    def __init__(self, clock: Clock, bucket: Path) -> None:
        self._clock = clock
        self._bucket = bucket
        self._attempts: dict[str, _Attempt] = {}

    def start(self, order: Entrypoint, told: Told, ended: Ended) -> None:
        assert order.command == "python -u -m ftorch.providers.ray_jobs.inside"
        assert order.package is not None
        with zipfile.ZipFile(io.BytesIO(order.package)) as archive:
            spec = json.loads(archive.read("ftorch-job/bundle/job.json"))
        folder = self.folder(order.env["FTORCH_OUTPUT_URI"], order.env["FTORCH_RUN_KEY"])
        attempt = _Attempt(order.env, spec, folder, self._clock.now(), told, ended)
        attempt.first_step = self._resumed(order.env)
        self._attempts[order.job_id] = attempt
        self._event(attempt, "started", pid=1)
        told(f"started on step {attempt.first_step}\n")

    def stop(self, job_id: str) -> None:
        self._attempts.pop(job_id, None)

    def lose(self, job_id: str) -> None:
        self._attempts.pop(job_id, None)

    def fail(self, job_id: str, words: str) -> None:
        """The trainer gives up by its own fault."""
        attempt = self._attempts[job_id]
        self._event(attempt, "failed", type="TrainerError", message=words, hint=None, exit_code=70)
        self._end(job_id, 70)

    def look(self) -> None:
        for job_id, attempt in list(self._attempts.items()):
            self._advance(job_id, attempt)

    def close(self) -> None:
        """Nothing runs."""

    def folder(self, uri: str, key: str) -> Path:
        return self._bucket / uri.removeprefix("bucket://tiny/") / key

    def _advance(self, job_id: str, attempt: _Attempt) -> None:
        worked_s = (self._clock.now() - attempt.began).total_seconds()
        step = min(attempt.first_step + int(worked_s // STEP_S), STEPS)
        if attempt.limit_s is not None and worked_s >= attempt.limit_s and step < STEPS:
            self._event(attempt, "interrupted", reason="deadline", step=step)
            self._end(job_id, 75)
            return
        for number in range(max(attempt.told_steps, attempt.first_step) + 1, step + 1):
            attempt.told(f"step {number}/{STEPS}\n")
            if number % 4 == 0:
                self._write(attempt, f"checkpoints/checkpoint-{number}/.complete", b"{}")
        attempt.told_steps = max(attempt.told_steps, step)
        self._tell(attempt, step)
        if step == STEPS:
            self._finish(job_id, attempt)

    def _resumed(self, env: Mapping[str, str]) -> int:
        earlier = env.get("FTORCH_RESUME_FROM")
        if not earlier:
            return 0
        folder = self.folder(env["FTORCH_OUTPUT_URI"], earlier)
        return max((int(one.name.partition("-")[2]) for one in folder.glob("checkpoints/*")), default=0)

    def _finish(self, job_id: str, attempt: _Attempt) -> None:
        lora = attempt.spec["lora"]
        self._event(attempt, "succeeded", step=STEPS)
        for name, content in trained_files("builtin:tiny", lora["rank"], lora["alpha"], 1500).items():
            self._write(attempt, name if name == "result.json" else f"adapter/{name}", content)
        self._tell(attempt, STEPS)
        self._end(job_id, 0)

    def _end(self, job_id: str, code: int) -> None:
        attempt = self._attempts.pop(job_id)
        self._tell(attempt, attempt.told_steps, exit_code=code)
        attempt.ended(code)

    def _event(self, attempt: _Attempt, event: str, **fields: object) -> None:
        attempt.events.append({"t": rfc3339(self._clock.now()), "event": event, **fields})

    def _tell(self, attempt: _Attempt, step: int, exit_code: int | None = None) -> None:
        now = rfc3339(self._clock.now())
        beat = {"t": now, "phase": "train", "step": step, "total_steps": STEPS, "loss": 1.5}
        has_result = (attempt.folder / "result.json").exists()
        status = {
            "v": 1,
            "key": attempt.env["FTORCH_RUN_KEY"],
            "resume_from": attempt.env.get("FTORCH_RESUME_FROM"),
            "started_at": rfc3339(attempt.began),
            "ended_at": None if exit_code is None else now,
            "exit_code": exit_code,
            "t": now,
            "events": [*attempt.events[:1], *attempt.events[1:][-1:]],
            "heartbeat": beat,
            "result": {"trained_tokens": 1500} if has_result else None,
        }
        self._write(attempt, "status.json", json.dumps(status).encode())

    def _write(self, attempt: _Attempt, name: str, content: bytes) -> None:
        path = attempt.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class AnyscaleBench(WireBench, DeadlineBench, BillsBench):
    """Anyscale in memory; time passes when it is told to."""

    def __init__(self, emulator: AnyscaleEmulator, work: StandIn, clock: ManualClock, folder: Path) -> None:
        self.bucket = open_bucket("tiny", folder / "bucket")
        options = {"anyscale": {"output_uri": "bucket://tiny/runs"}}
        one, bundle = plan_with_rows(folder / "rows", providers=("anyscale",), options=options)
        self._opened: list[AnyscaleProvider] = []
        self._emulator = emulator
        self._work = work
        self._manual = clock
        provider = self.provider_at(emulator.url, TOKEN)
        super().__init__(
            provider,
            clock=clock,
            plan=one,
            bundle=bundle,
            env={TOKEN_VARIABLE: TOKEN, HOST_VARIABLE: emulator.url},
            key=TOKEN,
        )
        self.bills: Bills = provider

    @property
    def key_variable(self) -> str:
        return TOKEN_VARIABLE

    @property
    def service(self) -> Service:
        return self._emulator.service

    def wait(self) -> None:
        self._manual.advance(STEP_S)

    def advance(self, seconds: float) -> None:
        self._manual.advance(seconds)

    def job(self, ref: RunRef) -> Job:
        return self.service.newest(ref.key)

    def fail(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self._work.fail(self.job(ref).attempt_id, "the loss is not a number")
        return self.until(RunState.FAILED, ref)

    def kill(self, ref: RunRef) -> Observation:
        self.until(RunState.RUNNING, ref)
        self.service.lose(self.job(ref))
        return self.until(RunState.STOPPED, ref)

    def damage(self, ref: RunRef) -> None:
        path = self.bucket.folder / "runs" / ref.key / "adapter" / _WEIGHTS
        path.write_bytes(damaged({_WEIGHTS: path.read_bytes()})[_WEIGHTS])

    def slow_order(self) -> RunOrder:
        return self.order(max_duration_s=20)

    def script(self, fault: WireFault, *, times: int | None = 1) -> None:
        if fault in _DOWNLOADS:
            self.bucket.script(_DOWNLOADS[fault], times=times)
            return
        route, what = _FAULTS[fault]
        self._emulator.script(route, what, times=times, value=_VALUES.get(what, ""))

    def heal(self) -> None:
        self._emulator.clear()
        self.bucket.clear()

    def traffic(self) -> Traffic:
        asked = self._emulator.requests
        return Traffic(
            creates=asked[CREATE],
            lists=asked[LIST],
            singles=asked[GET],
            contents=asked[_UPLOAD],
            writes=sum(asked[route] for route in _WRITES),
            downloaded=self.bucket.downloaded,
        )

    def made(self, key: str) -> int:
        return self.service.creates[key]

    def hide_new_runs(self, seconds: float) -> None:
        self.service.listing_lag_s = seconds

    def vanish(self, ref: RunRef) -> None:
        self.service.forget(self.job(ref))

    def unreachable(self) -> Provider:
        return self.provider_at("http://127.0.0.1:1", TOKEN)

    def with_refused_key(self) -> Provider:
        return self.provider_at(self._emulator.url, "aph0_that-has-expired")

    def of_another_account(self) -> Provider:
        return self.provider_at(self._emulator.url, OTHER_TOKEN)

    def fill(self) -> Expected:
        today = self._manual.now().date()
        colleague = ACCOUNTS[COLLEAGUE_TOKEN]
        self.service.use(colleague, today, Decimal("3.141592653"), workspace_id="wrk_1", workspace_name="notebook")
        self.service.use(colleague, today, Decimal("0.004"), job_id="prodjob_x", job_name="nightly-7b")
        for _ in range(4):
            self.finish(self.submit())
            self.advance(5 * 3600)
        self.advance(6 * 3600)
        amounts = {
            reference(row.day.isoformat(), row.cluster_id): row.usd
            for row in self.service.rows(ORGANISATION)
            if row.usd is not None
        }
        return Expected(_EVER, amounts, page_size=4)

    def correct(self, source_ref: str, usd: Decimal) -> None:
        cluster_id, _, day = source_ref.partition("/")
        self.service.posting.corrections[cluster_id, datetime.fromisoformat(day).date()] = usd
        self.wait()

    def close(self) -> None:
        for provider in self._opened:
            provider.close()

    def provider_at(self, url: str, token: str) -> AnyscaleProvider:
        http = Http(
            "anyscale",
            url,
            clock=self._manual,
            key=token,
            key_variable=TOKEN_VARIABLE,
            authorized=cookie,
            timeout_s=5,
            create_timeout_s=0.5,
        )
        self._opened.append(AnyscaleProvider(http, self._manual))
        return self._opened[-1]
