"""The receipt of an adapter: what came home, what it was made from, and the checks that anybody can repeat offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftorch.core.errors import ArtifactError
from ftorch.core.files import sha256_file, write_text
from ftorch.jobs.safetensors import Tensor, is_zero, read_tensors

if TYPE_CHECKING:
    from ftorch.manifest.plan import Plan
    from ftorch.providers.base import Artifact

NAME = "receipt.json"
BESIDE = (NAME, "result.json")
"""What lies beside the adapter's own files: our receipt, and what the trainer signed."""
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_FETCH = "restore the folder from a copy; `ftorch submit MANIFEST --again` trains the adapter again"


def write_receipt(artifact: Artifact, plan: Plan, *, base_id: str, job_id: str, run_key: str) -> dict[str, Any]:
    """Check the adapter and write its receipt. Raises ArtifactError for the first thing that is wrong."""
    receipt: dict[str, Any] = {
        "version": 1,
        "job": job_id,
        "run": run_key,
        "name": plan.name,
        "plan_hash": plan.hash,
        "base_model": {"id": base_id, "revision": plan.base_model.revision},
        "method": plan.method.type,
        "rank": plan.method.lora.rank,
        "dataset": {"content_hash": plan.dataset.content_hash, "train_sha256": plan.dataset.train_sha256},
        "trained_tokens": artifact.trained_tokens,
        "files": {name: {"sha256": f.sha256, "bytes": f.size} for name, f in sorted(artifact.files.items())},
    }
    receipt["tensors"] = check_adapter(artifact.folder, receipt)
    write_text(artifact.folder / NAME, json.dumps(receipt, indent=1, sort_keys=True) + "\n")
    return receipt


def verify(folder: Path) -> dict[str, Any]:
    """Repeat every check of the receipt on the files as they are now; returns the receipt.

    Needs no network and no other file. Raises ArtifactError naming the file and what differs.
    """
    receipt = read_receipt(folder)
    for name, entry in receipt["files"].items():
        _check_file(folder / name, entry)
    if receipt["tensors"] != check_adapter(folder, receipt):
        raise ArtifactError(f"the tensors in {folder} are not those of the receipt", hint=_FETCH)
    return receipt


def read_receipt(folder: Path) -> dict[str, Any]:
    """The receipt as it was written. Raises ArtifactError when there is none."""
    try:
        receipt: dict[str, Any] = json.loads((folder / NAME).read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder} has no readable {NAME}", hint="give the folder of an adapter that ftorch brought home"
        ) from error
    return receipt


def check_adapter(folder: Path, receipt: Mapping[str, Any]) -> dict[str, int]:
    """Names, ranks, base model and non-zero B of an adapter against what was ordered; returns counts."""
    config: dict[str, Any] = json.loads((folder / _CONFIG).read_text())
    _check_config(config, receipt)
    tensors = read_tensors(folder / _WEIGHTS)
    down, up = _half(tensors, "lora_A"), _half(tensors, "lora_B")
    if not down or len(down) != len(up):
        raise ArtifactError(f"{_WEIGHTS} has {len(down)} lora_A and {len(up)} lora_B tensors: not a LoRA adapter")
    for tensor in down + up:
        _check_rank(tensor, config)
    learned = sum(not is_zero(folder / _WEIGHTS, tensor) for tensor in up)
    if not learned:
        raise ArtifactError("every lora_B is zero: the adapter would change nothing", hint="look at `ftorch logs JOB`")
    parameters = sum(tensor.shape[0] * tensor.shape[1] for tensor in down + up)
    return {"lora_pairs": len(down), "learned_pairs": learned, "parameters": parameters}


def _check_file(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing", hint=_FETCH)
    if path.stat().st_size != entry["bytes"]:
        raise ArtifactError(f"{path} has {path.stat().st_size} bytes, its receipt says {entry['bytes']}", hint=_FETCH)
    if sha256_file(path) != entry["sha256"]:
        raise ArtifactError(f"{path} is not the file of the receipt: its SHA-256 differs", hint=_FETCH)


def _check_config(config: Mapping[str, Any], receipt: Mapping[str, Any]) -> None:
    named, ordered = config.get("base_model_name_or_path"), receipt["base_model"]["id"]
    if named != ordered:
        raise ArtifactError(f"the adapter names the base model {named!r}, ordered was {ordered!r}")
    if config.get("r") != receipt["rank"]:
        raise ArtifactError(f"the adapter has rank {config.get('r')}, ordered was {receipt['rank']}")


def _half(tensors: list[Tensor], part: str) -> list[Tensor]:
    return [tensor for tensor in tensors if f".{part}." in tensor.name]


def _check_rank(tensor: Tensor, config: Mapping[str, Any]) -> None:
    side = 0 if ".lora_A." in tensor.name else 1
    patterns: Mapping[str, int] = config.get("rank_pattern") or {}
    rank = next((rank for pattern, rank in patterns.items() if pattern in tensor.name), config.get("r"))
    if len(tensor.shape) != 2 or tensor.shape[side] != rank:
        raise ArtifactError(f"tensor {tensor.name!r} has shape {list(tensor.shape)}, which is not of rank {rank}")
