"""What the trainer library calls at each step: metrics, checkpoints, progress, and stopping in time."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ftorch.trainer import checkpoints, peers
from ftorch.trainer.device import peak_rss_bytes
from ftorch.trainer.errors import DivergedError
from ftorch.trainer.files import JsonLines, now
from ftorch.trainer.session import Session

_SPARE_S = 1.0
"""Time kept for leaving after the last save before a deadline."""
_NOT_OURS = ("num_tokens", "epoch", "total_flos")
"""The library's own counts begin at zero again after a resume."""


@dataclass(slots=True)
class Tokens:
    """Tokens seen since the run began, over all attempts and by all workers."""

    trained: int = 0
    """Everything that is not padding."""
    in_loss: int = 0
    """Those that the model is asked to predict."""
    _new: tuple[int, int] = (0, 0)
    """Counted here since the workers last added up."""

    def add(self, inputs: Mapping[str, Any]) -> None:
        """Count one micro-batch of SFT or DPO. A sequence's first token is never predicted."""
        wanted = inputs["labels"] != -100 if "labels" in inputs else inputs["completion_mask"] != 0
        trained, in_loss = self._new
        self._new = trained + int(inputs["attention_mask"].sum()), in_loss + int(wanted[:, 1:].sum())

    def add_up(self, is_stopping: bool) -> bool:
        """Take in what all workers have counted. Returns whether one of them has been told to stop."""
        trained, in_loss, stopping = peers.summed([*self._new, int(is_stopping)])
        self.trained, self.in_loss, self._new = self.trained + trained, self.in_loss + in_loss, (0, 0)
        return stopping > 0


class Reporter(TrainerCallback):  # type: ignore[misc]  # untyped library
    """Tells the output folder what happens, and ends training when the session asks for it."""

    def __init__(self, session: Session, tokens: Tokens, facts: Mapping[str, Any]) -> None:
        self._session = session
        self._tokens = tokens
        self._facts = facts
        self._metrics = JsonLines(session.folder.metrics) if session.world.is_writer else None
        self._began = 0.0
        self._durations: deque[float] = deque(maxlen=20)
        self._save_s = 0.0

    def on_train_begin(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        progress = self._session.progress
        progress.step, progress.total_steps = state.global_step, state.max_steps
        rows, tokens = self._facts["train_rows"], self._facts["train_tokens"]
        self._session.event(
            "train_begin",
            from_step=state.global_step,
            total_steps=state.max_steps,
            train_rows=rows,
            train_tokens=tokens,
        )

    def on_step_begin(self, _arguments: Any, _state: Any, _control: Any, **_: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, _arguments: Any, state: Any, control: Any, **_: Any) -> None:
        self._durations.append(time.monotonic() - self._began)
        progress = self._session.progress
        progress.step, progress.seconds_per_step = state.global_step, round(statistics.fmean(self._durations), 4)
        self._began = time.monotonic()
        if self._session.is_due(max(self._durations) + 2 * self._save_s + _SPARE_S):
            self._session.request_stop("deadline")
        # Workers that stop after different steps would wait for each other for ever.
        if self._tokens.add_up(self._session.stop_reason is not None):
            self._session.stop_reason = self._session.stop_reason or "deadline"
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, _arguments: Any, _state: Any, control: Any, **_: Any) -> None:
        if self._session.stop_reason:
            control.should_evaluate = False

    def on_log(self, _arguments: Any, state: Any, _control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        if "loss" not in logs and "eval_loss" not in logs:
            return
        row = {name: value for name, value in logs.items() if name not in _NOT_OURS}
        if self._metrics:
            self._metrics.append(
                {"t": now(), "step": state.global_step, "epoch": state.epoch, **row, "num_tokens": self._tokens.trained}
            )
        if "loss" in logs:
            self._follow(state, float(logs["loss"]))

    def on_save(self, arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        peers.meet()  # each worker has its own file of random numbers in the checkpoint
        if not self._session.world.is_writer:
            return
        path = Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
        checkpoints.complete(path, self._mark(state))
        self._session.event("checkpoint", step=state.global_step, path=f"checkpoints/{path.name}")
        self._save_s = max(self._save_s, time.monotonic() - self._began)

    def _follow(self, state: Any, loss: float) -> None:
        progress = self._session.progress
        progress.loss = loss if math.isfinite(loss) else None
        pace = f"{progress.seconds_per_step:.2f} s/step" if progress.seconds_per_step else ""
        self._session.say(f"step {state.global_step}/{state.max_steps} loss {loss:.4f} {pace}")
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} at step {state.global_step}", hint="lower learning_rate")

    def _mark(self, state: Any) -> dict[str, Any]:
        return {
            "version": 1,
            "t": now(),
            "step": state.global_step,
            "total_steps": state.max_steps,
            "trained_tokens": self._tokens.trained,
            "loss_tokens": self._tokens.in_loss,
            "cpu_seconds": round(self._facts["cpu_seconds_before"] + time.process_time(), 2),
            "peak_rss_bytes": peak_rss_bytes(),
            "attempts": [asdict(attempt) for attempt in self._session.attempts()],
            **self._facts,
        }
