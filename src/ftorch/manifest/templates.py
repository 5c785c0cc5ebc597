"""Commented manifests to start from: one text, with what differs by provider and method as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from ftorch.core.errors import UsageError
from ftorch.core.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class _Provider:
    base_model: str
    lines: tuple[str, ...]
    price_note: str


_PROVIDERS: Mapping[str, _Provider] = {
    "local": _Provider(
        "builtin:smollm2-135m",
        ("name: local", "# local: {threads: 2, parallel: 1}"),
        'set [local] rate = "0.50 USD" (per hour) in ftorch.toml.',
    ),
    "together": _Provider("Qwen/Qwen3-8B", ("name: together",), "Together prices tokens; `ftorch plan` shows it."),
    "modal": _Provider("Qwen/Qwen3-4B-Instruct-2507", ("name: modal",), "Modal prices GPU seconds."),
    "lambda": _Provider("Qwen/Qwen3-4B-Instruct-2507", ("name: lambda",), "Lambda prices GPU hours by the minute."),
    "anyscale": _Provider("Qwen/Qwen3-4B-Instruct-2507", ("name: anyscale",), "Anyscale bills what the cluster used."),
    "ray": _Provider(
        "Qwen/Qwen3-4B-Instruct-2507", ("name: ray",), 'set [ray] rate = "3.00 USD" (per hour) in ftorch.toml.'
    ),
    "ssh": _Provider(
        "Qwen/Qwen3-4B-Instruct-2507",
        ("name: ssh", "ssh: {host: user@gpu-box}"),
        'set [ssh] rate = "2.00 USD" (per hour) in ftorch.toml.',
    ),
}

_METHODS: Mapping[str, tuple[str, ...]] = {
    "sft": (
        "type: sft",
        "lora: {rank: 16, alpha: 32, dropout: 0.0, targets: all-linear}",
        "epochs: 3",
        "# 2e-4, or 1e-3 for a base model below half a billion weights, when not given.",
        "# learning_rate: 2.0e-4",
        "batch_size: 16",
        "max_length: 1024",
        "train_on: completion",
        "seed: 42",
    ),
    "dpo": (
        "type: dpo",
        "beta: 0.1",
        "lora: {rank: 16, alpha: 32, dropout: 0.0, targets: all-linear}",
        "epochs: 1",
        "# 2e-5 when not given; far below that of supervised training.",
        "# learning_rate: 2.0e-5",
        "batch_size: 16",
        "max_length: 1024",
        "seed: 42",
    ),
}

_DATASETS: Mapping[str, tuple[str, ...]] = {
    "sft": (
        '# One JSON object per line, {"prompt": "...", "completion": "..."} or {"messages": [...]};',
        "# or a CSV file, with columns: {text: text, label: category}.",
        "path: data/train.jsonl",
        "format: auto",
    ),
    "dpo": (
        '# One JSON object per line: {"prompt": "...", "chosen": "...", "rejected": "..."}.',
        "path: data/preferences.jsonl",
        "format: auto",
    ),
}


def render(provider: str, method: str, name: str) -> str:
    """A manifest that loads as it is; only `dataset.path` must be filled in."""
    if provider not in _PROVIDERS:
        raise UsageError(f"there is no template for {provider!r}{did_you_mean(provider, _PROVIDERS)}")
    slots = _PROVIDERS[provider]
    text = (files("ftorch.manifest") / "templates" / "job.yaml").read_text()
    return Template(text).substitute(
        name=name,
        base_model=slots.base_model,
        method=_block(_METHODS[method]),
        dataset=_block(_DATASETS[method]).rstrip("\n"),
        provider=_block(slots.lines),
        price_note=slots.price_note,
    )


def _block(lines: tuple[str, ...]) -> str:
    return "".join(f"  {line}\n" for line in lines)
