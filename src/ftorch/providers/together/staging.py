"""Rows on their way to Together: within the model's limits, converted, and found good there."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ftorch.core.errors import RunNotFoundError, RunRejectedError
from ftorch.core.files import translated
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import WANDB_KEY
from ftorch.providers.base import Bundle
from ftorch.providers.http import Http
from ftorch.providers.together import api, uploads
from ftorch.providers.together.body import TRAINING_FILE, VALIDATION_FILE, WANDB
from ftorch.providers.together.limits import Batch, fit
from ftorch.providers.together.rows import convert

ROWS: Mapping[str, str] = {TRAINING_FILE: "train.jsonl", VALIDATION_FILE: "validation.jsonl"}
"""Where the bundle has the rows that Together takes."""
_BAD = ("INVALID_FORMAT", "FAILED")
_LINE = re.compile(r"\bline (\d+)\b")


def check(plan: Plan) -> None:
    """What must be there before anything is sent. Raises RunRejectedError."""
    wandb = plan.tracking.wandb or {}
    if unknown := sorted(set(wandb) - set(WANDB)):
        raise RunRejectedError(
            f"tracking.wandb has {', '.join(unknown)}, which together does not pass on",
            provider="together",
            operation="stage",
            hint=f"it takes {', '.join(WANDB)}",
        )
    if plan.tracking.wandb is not None and WANDB_KEY not in plan.secrets:
        raise RunRejectedError(
            "together reports to Weights & Biases with a key of yours, and the manifest names none",
            provider="together",
            operation="stage",
            hint=f"add secrets: {{{WANDB_KEY}: env:{WANDB_KEY}}}, or leave tracking.wandb out",
        )


def batch(http: Http, plan: Plan, model: str) -> Batch:
    """How the plan's batch is split. Raises RunRejectedError for a model or a value that Together does not take."""
    try:
        return fit(plan, api.limits(http, model))
    except RunNotFoundError as error:
        raise RunRejectedError(
            f"together does not fine-tune {model!r}",
            provider="together",
            operation="stage",
            request_id=error.request_id,
            hint="its models: https://docs.together.ai/docs/fine-tuning/supported-models",
        ) from error


@contextmanager
def converted(plan: Plan, bundle: Bundle, name: str) -> Iterator[Path]:
    """A file of the bundle in Together's form, beside the bundle for as long as it takes to upload it."""
    with tempfile.TemporaryDirectory(prefix=".together-", dir=bundle.folder.parent) as folder:
        path = Path(folder, uploads.name_of(plan.name, bundle.files[name], name))
        with translated(path), path.open("wb") as target:
            convert(bundle.folder / name, target, plan.method)
        yield path


def is_checked(file: api.File, rows: Path) -> bool:
    """True when Together has found the file good, False while it still looks. Raises RunRejectedError in its words."""
    status = (file.processing_status or "").upper()
    if status in _BAD:
        said = file.validation_report and file.validation_report.error
        raise RunRejectedError(
            f"{_place(said or '', rows)}together refused the rows: {said or f'file {file.id} is {status}'}",
            provider="together",
            operation="stage",
            hint="the row stands there as it was uploaded; mend it in your dataset and submit again",
        )
    return status == "COMPLETED"


def _place(said: str, rows: Path) -> str:
    """Our file and line, where Together's words name a line: the rows are the same, one for one."""
    found = _LINE.search(said)
    return f"{rows}:{found[1]}: " if found else ""
