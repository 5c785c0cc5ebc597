"""Checkpoints: which one counts, how one is completed, and how a run takes over another run's.

The trainer library writes a checkpoint folder file by file, so a killed process leaves half of one. Only our own
`.complete`, written after everything is on disk, makes it a checkpoint.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftorch.trainer.errors import SpecError
from ftorch.trainer.files import JsonLines, move_into_place, read_object, seconds_between, sync_tree, write_object
from ftorch.trainer.folder import Folder
from ftorch.trainer.spec import Job, TrainSpec, differing

MARK = ".complete"
_NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint and what its mark tells: counters, identity and facts of the run so far."""

    path: Path
    mark: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.mark["step"])

    @property
    def is_final(self) -> bool:
        """Nothing is left to train: the library would take a step more than ordered if it went on from here."""
        return self.step >= int(self.mark["total_steps"])


def complete(path: Path, mark: Mapping[str, Any]) -> Checkpoint:
    """Flush a checkpoint to disk and mark it as whole."""
    sync_tree(path)
    write_object(path / MARK, mark)
    return Checkpoint(path, mark)


def newest(folder: Path) -> Checkpoint | None:
    """The complete checkpoint with the highest step in a folder; the folder may itself be one."""
    found = [checkpoint for path in _candidates(folder) if (checkpoint := _checkpoint(path))]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def at_step(folder: Path, step: int) -> Checkpoint | None:
    """The complete checkpoint of a step, or None."""
    return _checkpoint(folder / f"checkpoint-{step}")


def starting_point(job: Job[TrainSpec], folder: Folder) -> Checkpoint | None:
    """The checkpoint to go on from: our own, else that of `resume_from`. Raises SpecError when it is another job's."""
    _remove_incomplete(folder.checkpoints)
    own = newest(folder.checkpoints)
    if own:
        return _same_job(own, job)
    if job.spec.resume_from is None:
        return None
    source = job.path(job.spec.resume_from)
    if not source.is_dir():
        raise SpecError(f"resume_from: {source} is not a folder")
    other = newest(source)
    return _adopt(_same_job(other, job), folder) if other else None


def _candidates(folder: Path) -> list[Path]:
    if (folder / MARK).exists():
        return [folder]
    return [path for path in folder.glob("checkpoint-*") if _NAME.match(path.name)] if folder.is_dir() else []


def _checkpoint(path: Path) -> Checkpoint | None:
    mark = read_object(path / MARK)
    return Checkpoint(path, mark) if mark else None


def _remove_incomplete(folder: Path) -> None:
    # The library keeps the two newest by date: a half one left here would count, and push out the last whole one.
    for path in _candidates(folder):
        if not _checkpoint(path):
            shutil.rmtree(path)


def _same_job(checkpoint: Checkpoint, job: Job[TrainSpec]) -> Checkpoint:
    if checkpoint.mark.get("fingerprint") == job.fingerprint:
        return checkpoint
    keys = ", ".join(differing(checkpoint.mark.get("identity", {}), job.identity))
    raise SpecError(f"{checkpoint.path} belongs to another job: {keys} differ", hint="give another --out")


def _adopt(other: Checkpoint, folder: Folder) -> Checkpoint:
    """Copy another run's checkpoint, and the metrics up to it, into our folder."""
    aside = folder.checkpoints / ".adopting"
    shutil.rmtree(aside, ignore_errors=True)
    folder.checkpoints.mkdir(exist_ok=True)
    shutil.copytree(other.path, aside)
    _adopt_metrics(other, folder)
    mark = {**other.mark, "prior_attempts": _prior_attempts(other.mark), "attempts": []}
    write_object(aside / MARK, mark)
    path = folder.checkpoints / f"checkpoint-{other.step}"
    move_into_place(aside, path)
    return Checkpoint(path, mark)


def _prior_attempts(mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The attempts that led to a checkpoint of another run. What its last one did afterwards is not ours to tell."""
    *ended, last = mark["attempts"]
    seconds = seconds_between(last["started_at"], mark["t"])
    taken_over = {"ended_at": mark["t"], "seconds": round(seconds, 3), "to_step": mark["step"], "how": "taken_over"}
    return [*mark["prior_attempts"], *ended, {**last, **taken_over}]


def _adopt_metrics(checkpoint: Checkpoint, folder: Folder) -> None:
    state = read_object(checkpoint.path / "trainer_state.json") or {}
    metrics = JsonLines(folder.metrics)
    for row in state.get("log_history", []):
        metrics.append({"t": checkpoint.mark.get("t"), **row})
    metrics.close()
