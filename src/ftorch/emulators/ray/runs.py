"""What the runner inside a job has left by now: its status, the adapter, and what it has printed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ftorch.core.clock import rfc3339
from ftorch.emulators.adapters import damaged
from ftorch.emulators.ray.jobs import READY_S, STEPS, Job

_HASHED = ("sha256", "bytes")


def files(job: Job, now: datetime) -> dict[str, bytes]:
    """The run's folder, by name."""
    if job.started_at is None or now < job.started_at or job.spec is None:
        return {}
    adapter = _adapter(job, now)
    result = _result(job, adapter) if adapter else None
    found = {f"adapter/{name}": content for name, content in adapter.items()}
    if result:
        found["result.json"] = json.dumps(result).encode()
    if job.is_damaged:
        weights = damaged(adapter)
        found |= {f"adapter/{name}": content for name, content in weights.items()}
    return {**found, "status.json": json.dumps(_status(job, now, result)).encode()}


def log(job: Job, now: datetime) -> str:
    """The job's log."""
    if job.started_at is None or now < job.started_at:
        return ""
    lines = [f"{job.started_at:%Y-%m-%d %H:%M:%S},000\tINFO job_manager.py:581 -- Runtime env is setting up."]
    lines += [f"Running entrypoint for job {job.id}: {job.order['entrypoint']}"]
    if job.spec is not None:
        lines += [_marker(job, "started", job.started_at), "ftorch: train ..."]
        lines += [f"ftorch: step {step}/{STEPS} loss {2 / step:.4f}" for step in range(1, job.step(now) + 1)]
    if job.ending and now >= job.ending.at:
        ending = job.ending
        lines += [f"ftorch: {ending.said} {ending.why}".rstrip()] if ending.said else []
        if ending.said:
            lines += [_marker(job, "ended", ending.at, exit_code=ending.exit_code)]
    return "".join(f"{line}\n" for line in (*lines, *job.notes))


def _adapter(job: Job, now: datetime) -> Mapping[str, bytes]:
    is_done = job.ending is not None and now >= job.ending.at and job.ending.said == "succeeded"
    return job.outcome.files if is_done and job.outcome else {}


def _result(job: Job, adapter: Mapping[str, bytes]) -> dict[str, Any]:
    assert job.work is not None
    listed = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in adapter.items()
    }
    base = {"id": job.work.base_model, "revision": None}
    return {
        "version": 1,
        "status": "succeeded",
        "base_model": base,
        "trained_tokens": job.work.tokens,
        "steps": STEPS,
        "files": listed,
    }


def _status(job: Job, now: datetime, result: Mapping[str, Any] | None) -> dict[str, Any]:
    assert job.started_at is not None
    ending = job.ending if job.ending and now >= job.ending.at else None
    told = ending.at if ending else now
    is_told = ending is not None and bool(ending.said)
    return {
        "v": 1,
        "key": job.id,
        "resume_from": job.env.get("FTORCH_RESUME_FROM"),
        "started_at": rfc3339(job.started_at),
        "ended_at": rfc3339(told) if is_told else None,
        "exit_code": ending.exit_code if ending and is_told else None,
        "t": rfc3339(told),
        "events": _events(job, told, now),
        "heartbeat": _heartbeat(job, told),
        "result": {"trained_tokens": result["trained_tokens"]} if result else None,
    }


def _events(job: Job, told: datetime, now: datetime) -> list[dict[str, Any]]:
    assert job.started_at is not None
    began = job.started_at + timedelta(seconds=READY_S)
    events: list[dict[str, Any]] = [{"t": rfc3339(began), "event": "started"}] if told >= began else []
    ending = job.ending
    if ending is None or now < ending.at or not ending.said:
        return events
    last: dict[str, Any] = {"t": rfc3339(told), "event": ending.said}
    if ending.said == "failed":
        last |= {"type": "DataError", "message": ending.why, "hint": None, "exit_code": ending.exit_code}
    if ending.said == "interrupted":
        last |= {"reason": ending.why, "step": job.step(now)}
    return [*events, last]


def _heartbeat(job: Job, told: datetime) -> dict[str, Any] | None:
    assert job.started_at is not None
    if told < job.started_at + timedelta(seconds=READY_S):
        return None
    step = job.step(told)
    return {"t": rfc3339(told), "phase": "train", "step": step, "total_steps": STEPS, "loss": 2 / max(step, 1)}


def _marker(job: Job, kind: str, moment: datetime, **more: Any) -> str:
    where = {"folder": f"ftorch/{job.id}", "uri": job.env.get("FTORCH_OUTPUT_URI")}
    return f"FTORCH_EVENT {json.dumps({'v': 1, 'kind': kind, 'key': job.id, 't': rfc3339(moment), **where, **more})}"
