"""A base model's tokenizer, small and made on the spot: bytes, with a chat template of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

CHATML = (
    "{%- for message in messages %}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}\n"
    "{%- if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{% endgeneration %}"
    "{%- else %}{{ message['content'] }}{%- endif %}\n"
    "{{- '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)

MakeBase = Callable[..., Path]


@pytest.fixture
def make_base(tmp_path: Path) -> MakeBase:
    """Writes a base's folder; keyword arguments go into `tokenizer_config.json`."""

    def make(template: str | None = CHATML, **config: object) -> Path:
        folder = tmp_path / "base"
        folder.mkdir(exist_ok=True)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"chat_template": template, **config} if template else config
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return make
