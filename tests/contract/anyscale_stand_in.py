"""In the place of an entrypoint on a cluster of Anyscale: it needs no process, and time passes when it is told to."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ftorch.core.clock import Clock, rfc3339
from ftorch.emulators.adapters import trained_files
from ftorch.emulators.entrypoints import Ended, Entrypoint, Told

STEP_S, STEPS = 5.0, 12


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
