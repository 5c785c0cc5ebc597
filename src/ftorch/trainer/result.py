"""The end of a run: the adapter brought into its final form, and the record of everything that made it."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftorch.trainer.bases import canonical_id
from ftorch.trainer.checkpoints import Checkpoint
from ftorch.trainer.files import inventory, move_into_place, read_lines, write_object
from ftorch.trainer.folder import seconds_per_phase
from ftorch.trainer.session import Session
from ftorch.trainer.spec import ADAPTER_WEIGHTS, BaseModel, Job, Spec, TrainSpec

_CONFIG = "adapter_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_HOW_IT_WAS_LOADED = ("is_local", "local_files_only", "name_or_path")
_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    _TOKENIZER_CONFIG,
    "vocab.json",
    "vocab.txt",
)
_FACTS = ("train_rows", "dropped_rows", "trained_tokens", "loss_tokens", "device", "device_name", "dtype", "threads")
_MORE_FACTS = ("peak_rss_bytes", "cpu_seconds", "prior_attempts", "versions", "effective")


def finish(job: Job[TrainSpec], final: Checkpoint, session: Session) -> None:
    """Make `adapter/` from the final checkpoint and write the result. Needs no torch, so a restart is quick."""
    session.phase("save")
    session.progress.step = session.progress.total_steps = final.step
    export(final.path, session.folder.adapter, job.spec.base_model)
    session.event("succeeded", step=final.step)
    losses = step_losses(session.folder.metrics, final.step)
    write_object(
        session.folder.result,
        {
            **record(job, session, final.mark["base_revision"]),
            "method": job.spec.method,
            "train_sha256": job.spec.train_sha256,
            **{name: final.mark[name] for name in _FACTS},
            "steps": final.step,
            "epochs": job.spec.epochs,
            "final_loss": mean_of_last_tenth(losses),
            "validation_loss": _validation_loss(session.folder.metrics, final.step),
            "files": inventory(session.folder.adapter),
            **{name: final.mark[name] for name in _MORE_FACTS},
        },
    )


def record(job: Job[Spec], session: Session, base_revision: str | None) -> dict[str, Any]:
    """What every result tells, whatever the run did."""
    events = list(read_lines(session.folder.events))
    return {
        "version": 1,
        "status": "succeeded",
        "run_name": job.spec.run_name,
        "spec_sha256": job.sha256,
        "fingerprint": job.fingerprint,
        "base_model": {"id": job.spec.base_model.id, "revision": base_revision},
        "seconds_per_phase": seconds_per_phase(events),
        "attempts": [asdict(attempt) for attempt in session.attempts()],
    }


def export(checkpoint: Path, adapter: Path, base: BaseModel) -> None:
    """Copy the adapter out of a checkpoint, with a config that says the same wherever it was trained."""
    aside = adapter.with_name("adapter.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in (ADAPTER_WEIGHTS, *_TOKENIZER_FILES):
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, aside / name)
    _rewrite(aside / _CONFIG, canonical_config(_object(checkpoint / _CONFIG), base))
    if (aside / _TOKENIZER_CONFIG).exists():
        _rewrite(aside / _TOKENIZER_CONFIG, canonical_tokenizer_config(_object(aside / _TOKENIZER_CONFIG)))
    move_into_place(aside, adapter)


def canonical_config(config: Mapping[str, Any], base: BaseModel) -> dict[str, Any]:
    """The adapter's config without what differs from machine to machine.

    PEFT names the folder that the base model was loaded from, and writes its sets in the order of their hashes.
    """
    named = {**config, "base_model_name_or_path": canonical_id(base.id), "revision": base.revision}
    return {name: sorted(value) if _is_text_list(value) else value for name, value in named.items()}


def canonical_tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer's config without how it was loaded here."""
    return {name: value for name, value in config.items() if name not in _HOW_IT_WAS_LOADED}


def step_losses(metrics: Path, steps: int) -> list[float]:
    """The loss of each step in order; after a kill steps appear twice, and the last row counts."""
    by_step = {row["step"]: row["loss"] for row in read_lines(metrics) if row.get("loss") is not None}
    return [loss for step, loss in sorted(by_step.items()) if step <= steps]


def mean_of_last_tenth(losses: list[float]) -> float | None:
    return statistics.fmean(losses[-math.ceil(len(losses) / 10) :]) if losses else None


def _validation_loss(metrics: Path, step: int) -> float | None:
    """Of the finished adapter; None when a kill fell between the last checkpoint and the measurement."""
    rows = (row for row in read_lines(metrics) if row.get("step") == step)
    found = [row["eval_loss"] for row in rows if row.get("eval_loss") is not None]
    return float(found[-1]) if found else None


def _object(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def _rewrite(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
