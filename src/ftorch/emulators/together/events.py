"""What has happened to a job by a moment, as the service tells it: events, checkpoints, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

from ftorch.core.clock import rfc3339
from ftorch.emulators.together.jobs import SAVE_S, Job
from ftorch.emulators.together.records import Checkpoint, Event, EventType
from ftorch.emulators.together.schemas import MetricsQuery

_Level = Literal["info", "warning", "error"]
_ENDINGS: dict[str, tuple[EventType, _Level]] = {
    "cancelled": ("job_stopped", "warning"),
    "error": ("job_error", "error"),
    "user_error": ("job_user_error", "error"),
}


def events(job: Job, now: datetime) -> list[Event]:
    """All events until now, in order."""
    past = [one for one in _all(job) if one[0] <= now]
    return [_event(job, *one) for one in sorted(past, key=lambda one: one[0])]


_Happening = tuple[datetime, EventType, str, _Level, dict[str, Any]]


def _all(job: Job) -> Iterator[_Happening]:
    stopped_at = job.ending.stopped_at if job.ending else None
    for one in (*_beginning(job), *_course(job), *_saving(job)):
        if stopped_at is None or one[0] <= stopped_at:
            yield one
    for note in job.notes:
        yield note.at, note.type, note.message, "warning", {}
    if job.ending:
        kind, level = _ENDINGS[job.ending.status]
        yield job.ending.at, kind, job.ending.message, level, {}


def _happening(at: datetime, kind: EventType, message: str, **more: Any) -> _Happening:
    return at, kind, message, "info", more


def _beginning(job: Job) -> Iterator[_Happening]:
    start = job.starts_at
    yield _happening(job.created_at, "job_pending", "Fine tune request created")
    yield _happening(start, "job_start", f"Job started at {rfc3339(start)}")
    yield _happening(start, "model_downloading", f"Downloading model data for {job.model.name_in_adapters}")
    soon = start + timedelta(seconds=1)
    yield _happening(soon, "model_download_complete", "Model data downloaded", param_count=job.model.parameters)
    yield _happening(soon, "training_data_downloading", f"Downloading {job.order.training_file}")
    if job.order.validation_file:
        yield _happening(soon, "validation_data_downloading", f"Downloading {job.order.validation_file}")
        yield _happening(soon, "validation_data_download_complete", "Validation data downloaded")
    count = {"token_count": job.size.tokens}
    yield _happening(job.tokenised_at, "training_data_download_complete", "Training data downloaded", **count)
    yield _happening(job.tokenised_at, "tokenized_dataset_upload_complete", "Tokenized dataset uploaded", **count)
    if job.order.tracks:
        yield _happening(job.tokenised_at, "wandb_init", "WandB run initialized.", wandb_url=wandb_url(job))
    words = f"Training started for model {job.model.name_in_adapters}"
    yield _happening(job.tokenised_at, "training_start", words, total_steps=job.size.steps)


def _course(job: Job) -> Iterator[_Happening]:
    total = job.size.steps
    epochs = job.order.n_epochs
    for epoch in range(1, epochs + 1):
        step = total * epoch // epochs
        yield _happening(job.reached(step), "epoch_complete", f"Epoch completed, at step {step}", step=step)
    for step in eval_steps(job):
        yield _happening(job.reached(step), "eval_complete", f"Evaluation completed, at step {step}", step=step)
    for step in _checkpoint_steps(job)[:-1]:
        words = f"Checkpoint saved, at step {step}"
        yield _happening(job.reached(step), "checkpoint_save", words, step=step, checkpoint_path=_path(job, step))


def _saving(job: Job) -> Iterator[_Happening]:
    """Once the training has come to its end."""
    at, half = job.trained_at, timedelta(seconds=SAVE_S) / 2
    yield _happening(at, "training_complete", f"Training completed at {rfc3339(at)}", total_steps=job.size.steps)
    yield _happening(at, "model_compressing", "Compressing output model")
    yield _happening(at + half, "model_compression_complete", "Model compression complete")
    yield _happening(at + half, "model_uploading", "Uploading output model")
    done = at + 2 * half
    yield _happening(done, "model_upload_complete", "Model upload complete", model_path=_path(job, job.size.steps))
    yield _happening(done, "job_complete", "Job finished at " + rfc3339(done), token_count=job.size.tokens)


def _event(job: Job, at: datetime, kind: EventType, message: str, level: _Level, more: dict[str, Any]) -> Event:
    return Event(
        created_at=rfc3339(at), level=level, message=message, type=kind, hash=f"{job.number:08x}{kind}", **more
    )


def checkpoints(job: Job, now: datetime) -> list[Checkpoint]:
    """What was saved by now. The last one is the finished adapter, there once the job is completed."""
    return [_checkpoint(job, step) for step in _checkpoint_steps(job) if _is_saved(job, step, now)]


def _is_saved(job: Job, step: int, now: datetime) -> bool:
    if step == job.size.steps:
        return job.status(now) == "completed"
    return step <= job.step(now)


def _checkpoint(job: Job, step: int) -> Checkpoint:
    is_final = step == job.size.steps
    at = job.ends_at if is_final else job.reached(step)
    return Checkpoint(
        step=step,
        path=_path(job, step),
        created_at=rfc3339(at),
        checkpoint_type=f"{'Final' if is_final else 'Intermediate'} (step {step})",
        checkpoint="adapter" if job.lora else "model",
        object_id=f"ml_{job.id[-12:]}_{step}",
        object_name=job.adapter_name or job.output_name if is_final else f"{job.output_name}-step-{step}",
        object_revision_id=f"rv_{job.id[-12:]}_{step}",
    )


def metrics(job: Job, now: datetime, asked: MetricsQuery) -> list[dict[str, float]]:
    """A row for each step done and for each evaluation, within what was asked for."""
    rows = [(job.reached(step), row) for step, row in _metric_rows(job, now)]
    found = [row for at, row in rows if _is_within(at, row, asked)]
    if asked.resolution and asked.resolution < len(found):
        stride = len(found) / asked.resolution
        found = [found[int(place * stride)] for place in range(asked.resolution)]
    return found


def _metric_rows(job: Job, now: datetime) -> Iterator[tuple[int, dict[str, float]]]:
    evals = set(eval_steps(job))
    for step, loss in enumerate(job.losses(now), start=1):
        yield (
            step,
            {
                "train/loss": loss,
                "train/global_step": float(step),
                "train/epoch": job.order.n_epochs * step / job.size.steps,
                "train/learning_rate": job.order.learning_rate * (1 - (step - 1) / job.size.steps),
            },
        )
        if step in evals:
            yield step, {"eval/loss": loss * 1.05, "eval/global_step": float(step)}


def _is_within(at: datetime, row: dict[str, float], asked: MetricsQuery) -> bool:
    step = row.get("train/global_step", row.get("eval/global_step", 0))
    return (
        (asked.global_step_from is None or step >= asked.global_step_from)
        and (asked.global_step_to is None or step <= asked.global_step_to)
        and (asked.logged_at_from is None or at >= asked.logged_at_from)
        and (asked.logged_at_to is None or at <= asked.logged_at_to)
    )


def eval_steps(job: Job) -> list[int]:
    return _spread(job, job.order.n_evals or 0)


def wandb_url(job: Job) -> str:
    return f"https://wandb.ai/{job.order.wandb_project_name or 'together'}/runs/{job.id}"


def _checkpoint_steps(job: Job) -> list[int]:
    return _spread(job, job.order.n_checkpoints or 1)


def _spread(job: Job, count: int) -> list[int]:
    """So many steps, evenly apart, the last one at the end."""
    return sorted({max(job.size.steps * place // count, 1) for place in range(1, count + 1)})


def _path(job: Job, step: int) -> str:
    return f"s3://together-finetune/{job.id}/checkpoint-{step}.tar.zst"
