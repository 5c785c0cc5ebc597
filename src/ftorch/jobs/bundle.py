"""The bundle: what travels to a provider. Training rows and the trainer's spec; held-out rows never."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ftorch.core.errors import ArtifactError
from ftorch.core.files import locked, sha256_file, write_text
from ftorch.manifest.plan import Plan, StartAdapter
from ftorch.manifest.schema import Dpo, Sft
from ftorch.providers.base import Bundle

SPEC = "job.json"
TRAIN = "train.jsonl"
VALIDATION = "validation.jsonl"
START_ADAPTER = "start-adapter"
WEIGHTS = "adapter_model.safetensors"


def make_bundle(plan: Plan, dataset: Path) -> Bundle:
    """Lay the bundle of a plan beside its frozen dataset. The same plan again gives the same folder, untouched."""
    folder = dataset / f"bundle-{plan.hash[:16]}"
    folder.mkdir(exist_ok=True)
    # Two jobs of one plan may be staged at once.
    with locked(folder):
        return _laid(plan, dataset, folder)


def _laid(plan: Plan, dataset: Path, folder: Path) -> Bundle:
    names = [TRAIN, *([VALIDATION] if plan.dataset.validation_sha256 else [])]
    for name in names:
        _link(dataset / name, folder / name)
    if plan.from_adapter:
        shutil.copytree(plan.from_adapter.path, folder / START_ADAPTER, dirs_exist_ok=True)
        _check_start(folder / START_ADAPTER / WEIGHTS, plan.from_adapter)
    write_text(folder / SPEC, _spec_text(plan))
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return Bundle(folder, _digest(files), files)


def hashes_of(plan: Plan) -> frozenset[str]:
    """The hashes of a bundle's files, and the bundle's own, as far as the plan alone tells them."""
    facts = plan.dataset
    files = {SPEC: hashlib.sha256(_spec_text(plan).encode()).hexdigest(), TRAIN: facts.train_sha256}
    if facts.validation_sha256:
        files[VALIDATION] = facts.validation_sha256
    return frozenset({*files.values(), _digest(files)})


def trainer_spec(plan: Plan) -> dict[str, Any]:
    """The trainer's `job.json` without what only the machine knows (model folder, deadline, checkpoints)."""
    method, facts = plan.method, plan.dataset
    spec: dict[str, Any] = {
        "version": 1,
        "method": method.type,
        "base_model": {"id": plan.base_model.id, "path": None, "revision": plan.base_model.revision},
        "from_adapter": START_ADAPTER if plan.from_adapter else None,
        "train_file": TRAIN,
        "train_sha256": facts.train_sha256,
        "validation_file": VALIDATION if facts.validation_sha256 else None,
        "validation_sha256": facts.validation_sha256,
        "lora": {
            "rank": method.lora.rank,
            "alpha": method.lora.alpha,
            "dropout": method.lora.dropout,
            "targets": method.lora.targets,
        },
        "tracking": plan.tracking.model_dump(exclude_none=True),
        "workers": plan.resources.workers,
    }
    for name in _SAME_NAME:
        spec[name] = getattr(method, name)
    match method:
        case Sft():
            spec["train_on"] = method.train_on
        case Dpo():
            spec["beta"] = method.beta
    return spec


def _spec_text(plan: Plan) -> str:
    return json.dumps(trainer_spec(plan), indent=1, sort_keys=True)


_SAME_NAME = (
    "epochs",
    "max_steps",
    "learning_rate",
    "batch_size",
    "micro_batch_size",
    "max_length",
    "seed",
    "warmup_ratio",
    "scheduler",
    "weight_decay",
    "max_grad_norm",
    "quantize",
    "save_every_steps",
)


def _check_start(weights: Path, wanted: StartAdapter) -> None:
    """What was copied must be what the plan was made with: the folder may have changed since."""
    if sha256_file(weights) != wanted.sha256:
        raise ArtifactError(
            f"the adapter in {wanted.path} is no longer the one that the job was submitted with",
            hint="restore it, or run `ftorch submit MANIFEST --again` to start from what is there now",
        )


def _link(source: Path, target: Path) -> None:
    """The same bytes under a second name; a copy where the disk has no hard links."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _digest(files: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name, sha256 in files.items():
        digest.update(f"{name}\0{sha256}\n".encode())
    return digest.hexdigest()
