"""Base models and adapters in memory."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ftorch.trainer.bases import canonical_id
from ftorch.trainer.device import Device
from ftorch.trainer.errors import SpecError, did_you_mean
from ftorch.trainer.session import Session
from ftorch.trainer.spec import BaseModel, Lora


def quieten() -> None:
    """Keep progress bars and the libraries' plans for their next major versions out of the log."""
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)  # our version ranges end before those versions


def load_tokenizer(path: Path) -> Any:
    """The base model's tokenizer. Raises SpecError when it cannot write a conversation."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    if not tokenizer.chat_template:
        raise SpecError(f"base_model: {path} has no chat template", hint="choose the instruct variant of the model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(path: Path, device: Device, quantization: Any = None) -> Any:
    """The base model's weights in the device's precision; the caller moves them."""
    placed = {"quantization_config": quantization, "device_map": {"": 0}} if quantization is not None else {}
    return AutoModelForCausalLM.from_pretrained(path, dtype=device.torch_dtype(), **placed)


def load_adapter(model: Any, folder: Path, base: BaseModel, session: Session, *, is_trainable: bool) -> Any:
    """The base model with an adapter on it."""
    named = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if named != canonical_id(base.id):
        session.say(f"warning: the adapter in {folder} was trained on {named!r}, the base model is {base.id!r}")
    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=is_trainable)
    # At every save PEFT looks up the base model's config under this name: here it is, no need to ask the Hub.
    adapted.peft_config["default"].base_model_name_or_path = model.config._name_or_path
    return adapted


def lora_config(lora: Lora, model: Any) -> Any:
    """The shape of a new adapter. Raises SpecError for a target that the model has not."""
    modules = dict(model.named_modules())
    targets = _all_linear(model, modules) if isinstance(lora.targets, str) else list(lora.targets)
    if not isinstance(lora.targets, str):
        _check_targets(targets, list(modules))
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.scale,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
    )


def shape(model: Any) -> dict[str, Any]:
    """The shape of the adapter that is being trained, as it really is."""
    config = model.peft_config["default"]
    targets = config.target_modules
    return {
        "rank": config.r,
        "alpha": config.lora_alpha,
        "dropout": config.lora_dropout,
        "targets": targets if isinstance(targets, str) else sorted(targets),
    }


def _all_linear(model: Any, modules: Mapping[str, Any]) -> str | list[str]:
    """All linear layers but the head, by their short names where those mean the same.

    PEFT would write each layer's full name into the adapter's config: hundreds of lines, and other servers expect few.
    """
    head = model.get_output_embeddings()
    linear = {name for name, module in modules.items() if isinstance(module, torch.nn.Linear) and module is not head}
    short = {name.rsplit(".", 1)[-1] for name in linear}
    meant = {name for name in modules if name.rsplit(".", 1)[-1] in short}
    return sorted(short) if meant == linear else "all-linear"


def _check_targets(targets: Iterable[str], modules: list[str]) -> None:
    last_names = {name.rsplit(".", 1)[-1] for name in modules}
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            raise SpecError(f"lora.targets: the model has no {target!r}{did_you_mean(target, last_names)}")
