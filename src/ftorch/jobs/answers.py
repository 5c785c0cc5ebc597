"""Answers of a model on this machine to held-out rows: the trainer's `evaluate` as a child process, paid and kept.

The folder is named by what decides the answers, so that the same model on the same rows is asked once, also after a
kill, and a second job with the same base pays nothing for it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ftorch.core.clock import parse_rfc3339, to_micros
from ftorch.core.errors import (
    ArtifactError,
    BudgetError,
    DataError,
    Fault,
    FtorchError,
    JobFailedError,
    NotFinishedError,
    UsageError,
)
from ftorch.core.files import sha256_file, write_text
from ftorch.core.money import Money
from ftorch.costs import budget, ledger
from ftorch.costs.items import SpendSource, Window, time_item
from ftorch.jobs.context import Context
from ftorch.manifest.catalogue import canonical_id
from ftorch.manifest.plan import Plan
from ftorch.providers import output
from ftorch.providers.local.bases import prepare_base
from ftorch.store import JobRow, Transaction

HELD_OUT = "held_out.jsonl"
SCORES = "scores.jsonl"
_LOCAL = "local"
_WEIGHTS = "adapter_model.safetensors"
_BATCH = 8
_LOOK_S = 0.5

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """Where the answers lie, and how long the machine worked for them in all, also before a kill."""

    scores: Path
    seconds: Decimal


def answer_here(
    context: Context,
    job: JobRow,
    plan: Plan,
    *,
    name: str,
    adapter: Path | None,
    progress: Progress,
    rows: Path | None = None,
    left: Money | None = None,
) -> Answered:
    """Let the base model, with the adapter or without one, answer `rows` on this machine; the job's held-out rows when
    not given. `left` is what limits beside the job's own leave for it.

    What was answered before is not answered again. The time is posted to the ledger at the declared rate of `local`,
    however the process ends. Raises ArtifactError for an adapter of another base, BudgetError when nothing is left
    to pay it with, NotFinishedError when interrupted or at the end of the budget (ask again and it goes on),
    JobFailedError when the trainer breaks.
    """
    if adapter is not None:
        check_base(adapter, plan)
    held_out, sha256 = Path(job.dataset) / HELD_OUT, plan.dataset.held_out_sha256
    spec = _spec(plan, rows, sha256_file(rows)) if rows else _spec(plan, held_out, sha256)
    folder = context.home.evaluations / _identity(spec, adapter)
    out = folder / "out"
    try:
        if not (out / output.RESULT).exists():
            limits = {"max_duration_s": _affordable_s(context, job, plan, left), "adapter": adapter and str(adapter)}
            _run(context, plan, folder, {**spec, **limits}, name, progress)
    finally:
        windows = _book(context, job, plan, folder, name)
    return Answered(out / SCORES, sum((window.seconds for window in windows), Decimal(0)))


def check_base(adapter: Path, plan: Plan) -> None:
    """Refuse an adapter of another base model: its weights would mean nothing there."""
    try:
        named = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{adapter} is no adapter: its adapter_config.json cannot be read", hint="run `ftorch adapters`"
        ) from error
    wanted = canonical_id(plan.base_model.id)
    if named != wanted:
        raise ArtifactError(
            f"the adapter in {adapter} is for the base model {named!r}, the job's is {wanted!r}",
            hint="compare with an adapter of the same base, or give the other model's answers with --scores FILE",
        )


def left_of_budget(context: Context, job: JobRow, plan: Plan) -> Money | None:
    """What the job may still spend: its limit less what is spent and held. None without a limit; BudgetError at 0."""
    if plan.budget is None:
        return None
    reader = context.store.read()
    committed = Money.from_micro(ledger.spent_micro(reader, job.id) + ledger.held_micro(reader, job.id))
    left = plan.budget.limit - committed
    if left.amount <= 0:
        raise BudgetError(
            f"budget.limit, {plan.budget.limit}, is used up: {committed} is spent or held, and evaluation is paid "
            "from it too",
            hint="raise budget.limit in the manifest, then run `ftorch eval MANIFEST`",
        )
    return left


def _affordable_s(context: Context, job: JobRow, plan: Plan, beside: Money | None) -> int | None:
    own, rate = left_of_budget(context, job, plan), plan.declared_rates.get(_LOCAL)
    left = min((one for one in (own, beside) if one is not None), key=lambda one: one.amount, default=None)
    return budget.seconds_for(left, rate.amount) if left and rate else None


def _spec(plan: Plan, rows: Path, sha256: str) -> dict[str, Any]:
    is_preference = plan.method.type == "dpo"
    labels = plan.dataset.labels
    return {
        "version": 1,
        "kind": "preference" if is_preference else "generate",
        "base_model": {"id": plan.base_model.id, "path": None, "revision": plan.base_model.revision},
        "rows_file": str(rows),
        "rows_sha256": sha256,
        "labels": list(labels) if labels and not is_preference else None,
        "batch_size": _BATCH,
        "max_length": plan.method.max_length,
    }


def _identity(spec: Mapping[str, Any], adapter: Path | None) -> str:
    weights = sha256_file(adapter / _WEIGHTS) if adapter else None
    decisive = {name: value for name, value in spec.items() if name != "rows_file"}
    text = json.dumps([decisive, weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _run(context: Context, plan: Plan, folder: Path, spec: dict[str, Any], name: str, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"preparing {plan.base_model.id}", 0, 1)
    spec["base_model"]["path"] = prepare_base(plan.base_model, context.home.bases, context.env)
    progress(f"preparing {plan.base_model.id}", 1, 1)
    write_text(folder / "job.json", json.dumps(spec, indent=1))
    command = [
        sys.executable,
        "-m",
        "ftorch.trainer",
        "evaluate",
        str(folder / "job.json"),
        "--out",
        str(folder / "out"),
    ]
    with (folder / "trainer.log").open("ab") as log:
        process = subprocess.Popen(command, env=dict(context.env), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        code = _follow(process, folder / "out", lambda done, total: progress(f"evaluating {name}", done, total))
    except BaseException:
        # Ctrl-C reached the trainer too: it saves what it has and leaves.
        process.terminate()
        process.wait()
        raise
    if code:
        raise _failure(code, folder, name)


def _follow(process: subprocess.Popen[bytes], out: Path, progress: Callable[[int, int], None]) -> int:
    while True:
        try:
            return process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            beat = output.parse("", _text(out / output.HEARTBEAT), None).heartbeat or {}
            if beat.get("total_steps"):
                progress(int(beat.get("step") or 0), int(beat["total_steps"]))


def _failure(code: int, folder: Path, name: str) -> FtorchError:
    last = output.parse(_text(folder / "out" / output.EVENTS) or "", None, None).last_event
    words = f"evaluating {name}: {last.get('message') or f'the trainer ended with exit code {code}'}"
    hint = str(last.get("hint") or f"look at {folder / 'trainer.log'}")
    match code:
        case 65:
            return DataError([Fault(words, hint=hint)])
        case 64 | 66:
            return UsageError(words, hint=hint)
        case 73:
            return NotFinishedError(f"{name} is being evaluated on these rows by another process", hint="wait for it")
        case 75 if last.get("reason") == "deadline":
            return NotFinishedError(
                f"evaluating {name} reached the end of budget.limit", hint="raise it in the manifest; nothing is lost"
            )
        case 75:
            return NotFinishedError(f"evaluating {name} was interrupted", hint="run the same command to go on")
        case _:
            return JobFailedError(words, hint=hint)


def _book(context: Context, job: JobRow, plan: Plan, folder: Path, name: str) -> list[Window]:
    """Post every attempt's time that is not in the ledger yet; returns all attempts.

    An attempt that another job with the same base has paid stays with that job.
    """
    windows = list(_attempts(folder / "out"))
    rate = plan.declared_rates.get(_LOCAL)
    if rate is None:
        return windows
    here = platform.node() or "localhost"
    words = f"evaluating {name} on {here} at the declared rate of {rate.amount} USD per hour"
    now = context.clock.now()

    def post(tx: Transaction) -> None:
        for window in windows:
            reference = f"evaluation/{folder.name}/{to_micros(window.start)}"
            item = time_item(SpendSource.DECLARED, reference, rate.amount, window, words)
            # Not under the host's name: a laptop changes it, and the same time would be booked again.
            account = context.installation
            payer = ledger.payer(tx, item, provider=_LOCAL, account=account) or job.id
            ledger.post(tx, item, provider=_LOCAL, account=account, job_id=payer, now=now)

    context.store.write(post)
    return windows


def _attempts(out: Path) -> Iterator[Window]:
    """From each attempt's start to its last sign of life."""
    reading = output.parse(_text(out / output.EVENTS) or "", _text(out / output.HEARTBEAT), None)
    start = end = None
    for event in reading.events:
        if event.get("event") == "started":
            if start and end:
                yield Window(start, end)
            start = end = output.moment(event)
        elif start:
            end = parse_rfc3339(event["last_seen"]) if event.get("last_seen") else output.moment(event)
    if start and end:
        yield Window(start, max(end, reading.ended_at or end))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
