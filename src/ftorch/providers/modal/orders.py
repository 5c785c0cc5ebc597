"""An order as the trainer in the sandbox and the sandbox itself understand it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from ftorch.core.errors import RunRejectedError
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import WANDB_KEY
from ftorch.providers import output
from ftorch.providers.base import RunOrder
from ftorch.providers.modal.capabilities import LONGEST_S, START_S
from ftorch.providers.modal.names import MOUNT, out_folder, run_folder

BUNDLE, CODE, SPEC = "bundle", "code", "spec"
"""What `Staged.detail` holds: folders on the Volume, and the trainer's spec as JSON."""
_FILES = ("train_file", "validation_file", "from_adapter")
_NEEDS_A_PACKAGE = "builtin:smollm2-135m"


def check(plan: Plan) -> None:
    """What must be right before anything is sent. Raises RunRejectedError."""
    if plan.base_model.id == _NEEDS_A_PACKAGE:
        raise _rejected(
            f"modal's image has no weights of {plan.base_model.id} in it",
            "name HuggingFaceTB/SmolLM2-135M-Instruct, which comes from the Hub",
        )
    if plan.tracking.wandb is not None and WANDB_KEY not in plan.secrets:
        raise _rejected(
            "modal reports to Weights & Biases with a key of yours, and the manifest names none",
            f"add secrets: {{{WANDB_KEY}: env:{WANDB_KEY}}}, or leave tracking.wandb out",
        )


def run_files(order: RunOrder, resume_from: str | None) -> dict[str, Path | bytes]:
    """What a run finds in its folder on the Volume."""
    folder = run_folder(order.key)
    goes_on_from = order.resume_from.key if order.resume_from else None
    return {
        f"{folder}/job.json": json.dumps(_spec(order, resume_from), indent=1).encode(),
        f"{folder}/order.json": json.dumps({"key": order.key, "resume_from": goes_on_from}).encode(),
    }


def argv(order: RunOrder, app: str) -> tuple[str, ...]:
    return ("python", "-u", f"{MOUNT}/{order.staged.detail[CODE]}/runner.py", MOUNT, order.key, app)


def timeout_s(order: RunOrder) -> int:
    """The sandbox's whole life: the run's, and what it takes to begin and to end well."""
    if order.max_duration_s is None:
        return LONGEST_S
    return min(order.max_duration_s + int(START_S), LONGEST_S)


def _spec(order: RunOrder, resume_from: str | None) -> dict[str, Any]:
    """The bundle's spec with what only this run knows. Paths are relative to the run's folder."""
    spec: dict[str, Any] = json.loads(order.staged.detail[SPEC])
    for name in _FILES:
        if spec.get(name):
            spec[name] = _from_run(f"{order.staged.detail[BUNDLE]}/{spec[name]}")
    # Left to the sandbox's own timeout it would be killed between two checkpoints.
    spec["max_duration_s"] = min(order.max_duration_s or LONGEST_S, LONGEST_S - int(START_S))
    spec["run_name"] = order.key
    spec["resume_from"] = _from_run(f"{out_folder(resume_from)}/{output.CHECKPOINTS}") if resume_from else None
    return spec


def _from_run(path: str) -> str:
    """A path on the Volume as seen from a run's folder, wherever the Volume is mounted."""
    return str(PurePosixPath("../..") / path)


def _rejected(words: str, hint: str) -> RunRejectedError:
    return RunRejectedError(words, provider="modal", operation="stage", hint=hint)
