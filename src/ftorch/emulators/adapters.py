"""A genuine, tiny PEFT adapter with the trainer's `result.json`, made without torch."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_HIDDEN = 8
_LAYERS = 2
_PROJECTIONS = ("q_proj", "v_proj")
_WEIGHTS = "adapter_model.safetensors"


@lru_cache(maxsize=64)
def trained_files(base_model: str, rank: int, alpha: int, trained_tokens: int) -> Mapping[str, bytes]:
    """`adapter_config.json`, `adapter_model.safetensors` and, naming both with their hashes, `result.json`."""
    adapter = {"adapter_config.json": _config(base_model, rank, alpha), _WEIGHTS: _weights(rank)}
    result = {
        "version": 1,
        "status": "succeeded",
        "base_model": {"id": base_model, "revision": None},
        "trained_tokens": trained_tokens,
        "steps": 12,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in adapter.items()
        },
    }
    return {**adapter, "result.json": _json(result)}


def damaged(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same files with one bit of the weights turned over."""
    weights = bytearray(files[_WEIGHTS])
    weights[-1] ^= 1
    return {**files, _WEIGHTS: bytes(weights)}


def _config(base_model: str, rank: int, alpha: int) -> bytes:
    return _json(
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": list(_PROJECTIONS),
        }
    )


def _weights(rank: int) -> bytes:
    """safetensors: eight bytes of header length, a JSON header with shapes and offsets, then little-endian floats."""
    header: dict[str, Any] = {}
    body = b""
    for layer in range(_LAYERS):
        for projection in _PROJECTIONS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            for part, shape in (("lora_A", (rank, _HIDDEN)), ("lora_B", (_HIDDEN, rank))):
                content = _floats(rank * _HIDDEN, step=0.001 * (layer + 1))
                offsets = [len(body), len(body) + len(content)]
                header[f"{name}.{part}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
                body += content
    text = _json(header)
    return struct.pack("<Q", len(text)) + text + body


def _floats(count: int, *, step: float) -> bytes:
    return struct.pack(f"<{count}f", *(step * (place + 1) for place in range(count)))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
