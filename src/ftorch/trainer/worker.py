"""One of several workers that train together. Who starts us has joined us already; the first of us writes.

A worker that dies takes the others with it, and all are started again: they go on from the last checkpoint. What no new
start would change has been told in the events, and is not tried again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ftorch.trainer import run
from ftorch.trainer.checkpoints import Checkpoint, at_step, starting_point
from ftorch.trainer.device import World
from ftorch.trainer.errors import ExitCode, InterruptedRun, SpecError, TrainerError
from ftorch.trainer.files import JsonLines, now, read_lines
from ftorch.trainer.folder import Folder
from ftorch.trainer.session import Session
from ftorch.trainer.spec import Job, TrainSpec, train_job


class Carrier(Protocol):
    """Carries the run's folder between the machines of its workers. What a call raises, a new start may mend."""

    def catch_up(self) -> None:
        """The writer calls it before it looks how far the run is: its folder is then the newest of any writer."""
        ...

    def share(self) -> None:
        """The writer calls it once it knows where to go on: the others can bring its checkpoint when this returns."""
        ...

    def bring(self) -> None:
        """Another worker calls it where the writer's checkpoint is not here. Twice, or by two at once, is harmless."""
        ...


class OneMachine:
    """All workers have one folder, and nothing is to be carried."""

    def catch_up(self) -> None: ...

    def share(self) -> None: ...

    def bring(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What all workers are given alike. `ends_at` is a moment of the wall clock; None: no deadline."""

    spec: bytes
    root: Path
    out: Path
    ends_at: float | None


def work(order: Order, world: World, carrier: Carrier) -> int:
    """The exit code of the training, the same for all. Raises what a new start of all workers may mend."""
    from ftorch.trainer import peers

    job = train_job(order.spec, order.root)
    os.environ.update(run.environment(job.spec))
    folder = Folder(order.out)
    folder.root.mkdir(parents=True, exist_ok=True)
    with folder.locked({}) if world.is_writer else nullcontext():
        if world.is_writer:
            carrier.catch_up()
        code = peers.told(_decided(job, folder, order.ends_at) if world.is_writer else None)
        return _attempt(job, folder, order.ends_at, world, carrier) if code is None else int(code)


def _decided(job: Job[TrainSpec], folder: Folder, ends_at: float | None) -> int | None:
    """The exit code, where it stands already: done, failed by its own fault, or out of time."""
    if folder.is_done(job.fingerprint):
        return ExitCode.DONE
    failed = [event for event in read_lines(folder.events) if event.get("event") == "failed"]
    if failed:
        return int(failed[-1].get("exit_code", ExitCode.CRASH))
    if ends_at is not None and time.time() >= ends_at:
        _note_deadline(folder)
        return ExitCode.INTERRUPTED
    return None


def _note_deadline(folder: Folder) -> None:
    last = [event for event in read_lines(folder.events) if "event" in event][-1:]
    if not last or last[0]["event"] != "interrupted":
        events = JsonLines(folder.events)
        events.append({"t": now(), "event": "interrupted", "reason": "deadline", "step": 0})
        events.close()


def _attempt(job: Job[TrainSpec], folder: Folder, ends_at: float | None, world: World, carrier: Carrier) -> int:
    # One clock decides: workers that stop at different steps would wait for each other for ever.
    limit = None if ends_at is None or not world.is_writer else max(ends_at - time.time(), 0.0)
    with Session(folder, max_duration_s=limit, world=world) as session:
        try:
            run.check_quantization(job.spec)
            run.carry_on(job, _start(job, folder, world, carrier), session)
        except InterruptedRun as interruption:
            session.event("interrupted", reason=interruption.reason, step=interruption.step)
            return ExitCode.INTERRUPTED
        except TrainerError as error:
            # Any other error may be that of a worker that died: those who are left lose their connection to it.
            session.failed(error)
            raise
    return ExitCode.DONE


def _start(job: Job[TrainSpec], folder: Folder, world: World, carrier: Carrier) -> Checkpoint | None:
    """The checkpoint that the writer goes on from, for all."""
    from ftorch.trainer import peers

    own = starting_point(job, folder) if world.is_writer else None
    if world.is_writer:
        carrier.share()
    mark = peers.told(own.mark if own else None)
    return own if world.is_writer or mark is None else _same(mark, folder, carrier)


def _same(mark: Mapping[str, Any], folder: Folder, carrier: Carrier) -> Checkpoint:
    """The writer's checkpoint on this machine. Raises SpecError where it cannot be had."""
    found = at_step(folder.checkpoints, mark["step"])
    if found is None or found.mark != mark:
        # One of the step that another writer saved differs in a bit here and there, and would drift away.
        carrier.bring()
        found = at_step(folder.checkpoints, mark["step"])
    if found is None or found.mark != mark:
        raise SpecError(f"the checkpoint of step {mark['step']} is not on this worker's machine")
    return found
