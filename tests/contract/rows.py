"""Rows and their bundle for benches whose trainer reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.shell import colours
from ftorch.core.files import sha256_file
from ftorch.jobs.bundle import make_bundle
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Lora, Sft
from ftorch.providers.base import Bundle
from unit.plans import facts, plan


def plan_with_rows(folder: Path, **changes: Any) -> tuple[Plan, Bundle]:
    """A plan on sixty-four rows, and the bundle of both."""
    folder.mkdir(parents=True, exist_ok=True)
    train = folder / "train.jsonl"
    train.write_text("".join(json.dumps(_row(**row)) + "\n" for row in colours(64)))
    one = plan(
        method=Sft(type="sft", lora=Lora(rank=4, alpha=8), learning_rate=1e-3, batch_size=8, save_every_steps=4),
        dataset=facts(train_sha256=sha256_file(train)),
        **changes,
    )
    return one, make_bundle(one, folder)


def _row(prompt: str, completion: str) -> dict[str, list[dict[str, str]]]:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }
