"""A run from its spec to its result: what can be checked without torch is checked before torch is imported."""

from __future__ import annotations

import importlib.util

from ftorch.trainer import bases
from ftorch.trainer.arguments import tracking_environment
from ftorch.trainer.checkpoints import Checkpoint, starting_point
from ftorch.trainer.errors import SpecError
from ftorch.trainer.result import finish
from ftorch.trainer.rows import COMPLETION, PREFERENCE, Row, read_rows
from ftorch.trainer.session import Session
from ftorch.trainer.spec import EvaluateSpec, Job, TrainSpec

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # GNU OpenMP spins at barriers: on a busy machine that costs a factor of ten
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
}
"""What the libraries read once, when they are imported."""


def run_training(job: Job[TrainSpec], session: Session) -> None:
    """Train, or go on training, and write the result."""
    if job.spec.workers > 1:
        raise SpecError(
            f"workers: this trainer is one process, the spec wants {job.spec.workers}",
            hint="several workers train under Ray: provider ray or anyscale",
        )
    check_quantization(job.spec)
    carry_on(job, starting_point(job, session.folder), session)


def carry_on(job: Job[TrainSpec], start: Checkpoint | None, session: Session) -> None:
    """Train from `start` to the end; who writes, writes the result."""
    final = start if start and start.is_final else _train(job, start, session)
    if final:
        finish(job, final, session)


def run_evaluation(job: Job[EvaluateSpec], session: Session) -> None:
    """Score every row, or those that an earlier attempt left, and write the result."""
    kind = COMPLETION if job.spec.kind == "generate" else PREFERENCE
    rows = read_rows(job.path(job.spec.rows_file), kind, job.spec.rows_sha256)
    base = bases.locate(job.spec.base_model)
    from ftorch.trainer import evaluate

    evaluate.evaluate(job, base, rows, session)


def environment(spec: TrainSpec | EvaluateSpec) -> dict[str, str]:
    """What the libraries read from the environment. Raises SpecError for a tracker that is not installed."""
    offline = {"HF_HUB_OFFLINE": "1"} if spec.base_model.path else {}
    return {**offline, **(tracking_environment(spec) if isinstance(spec, TrainSpec) else {})}


def check_quantization(spec: TrainSpec) -> None:
    """Raises SpecError for 4-bit weights where the package for them is missing."""
    if spec.quantize and importlib.util.find_spec("bitsandbytes") is None:
        raise SpecError(
            "quantize: 4bit needs bitsandbytes", hint="run `pip install bitsandbytes` on a machine with a CUDA GPU"
        )


def _train(job: Job[TrainSpec], start: Checkpoint | None, session: Session) -> Checkpoint | None:
    rows = _rows(job, job.spec.train_file, job.spec.train_sha256)
    validation = _rows(job, job.spec.validation_file, job.spec.validation_sha256)
    base = bases.locate(job.spec.base_model)
    session.say(f"{len(rows)} rows; loading the libraries takes some seconds")
    from ftorch.trainer import train

    return train.train(job, train.Material(base, rows, validation), start, session)


def _rows(job: Job[TrainSpec], file: str | None, sha256: str | None) -> list[Row]:
    kind = COMPLETION if job.spec.method == "sft" else PREFERENCE
    return [] if file is None else read_rows(job.path(file), kind, sha256)
