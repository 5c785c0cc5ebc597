"""A plan for tests; any field can be replaced."""

from __future__ import annotations

from typing import Any

from ftorch.manifest.plan import DatasetFacts, Plan, TokenSource
from ftorch.manifest.schema import BaseModelRef, Lora, Resources, Retry, Sft, Tracking


def plan(**changes: Any) -> Plan:
    """Thirty-two rows of five hundred tokens in all, three epochs on `builtin:tiny`."""
    values: dict[str, Any] = {
        "name": "support",
        "base_model": BaseModelRef(id="builtin:tiny"),
        "parameters": 90_624,
        "from_adapter": None,
        "method": Sft(type="sft", lora=Lora(rank=4, alpha=8), learning_rate=1e-3),
        "dataset": facts(),
        "providers": ("local",),
        "options": {},
        "resources": Resources(),
        "secrets": {},
        "budget": None,
        "retry": Retry(),
        "eval": None,
        "lifetime": None,
        "tracking": Tracking(),
        "schedule": None,
        "labels": {},
    }
    return Plan(**{**values, **changes})


def facts(**changes: Any) -> DatasetFacts:
    values: dict[str, Any] = {
        "source": "support.jsonl",
        "content_hash": "c" * 64,
        "train_sha256": "a" * 64,
        "validation_sha256": None,
        "held_out_sha256": "b" * 64,
        "train_rows": 32,
        "validation_rows": 0,
        "held_out_rows": 8,
        "train_tokens": 500,
        "token_source": TokenSource.ESTIMATE,
        "longest_row_tokens": 30,
    }
    return DatasetFacts(**{**values, **changes})
