"""Commented manifests to start from: one text, with what differs by provider and method as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from ftorch.core.errors import UsageError
from ftorch.core.suggest import did_you_mean
from ftorch.manifest.fields import Name

_Slots = TypeVar("_Slots")

_SMALL = "builtin:smollm2-135m"
_MIDDLE = "Qwen/Qwen3-4B-Instruct-2507"
_LIMIT = "budget: {limit: 25.00 USD, on_exceed: cancel}"


@dataclass(frozen=True, slots=True)
class _Provider:
    base_model: str
    lines: tuple[str, ...]
    resources: tuple[str, ...]
    budget: tuple[str, ...]


def _declared(name: str, rate: str) -> tuple[str, ...]:
    """A budget is held only where somebody names a price; here that is the user."""
    return (
        "# What all runs of this job may cost together. Needs a price per hour in ftorch.toml:",
        f'# [{name}] with rate = "{rate}"; "0.00 USD" when it is free to you.',
        f"# {_LIMIT}",
    )


def _priced(what: str) -> tuple[str, ...]:
    return (f"# What all runs of this job may cost together. {what}", _LIMIT)


def _gpus(*names: str) -> tuple[str, ...]:
    return (
        "# Acceptable GPUs, best first (24 GB hold LoRA on 4 B weights), and the hard end of one run.",
        f"resources: {{gpu: [{', '.join(names)}], max_duration: 4h}}",
    )


_NO_GPU_CHOICE = ("# A hard end of one run.", "# resources: {max_duration: 4h}")

_PROVIDERS: Mapping[str, _Provider] = {
    "local": _Provider(
        _SMALL,
        ("# This machine, with the GPU or CPU that it has.", "name: local", "# local: {threads: 2, parallel: 1}"),
        _NO_GPU_CHOICE,
        _declared("local", "0.50 USD"),
    ),
    "ssh": _Provider(
        _MIDDLE,
        ("# A machine of yours; ssh must let you in without a question.", "name: ssh", "ssh: {host: user@gpu-box}"),
        _NO_GPU_CHOICE,
        _declared("ssh", "2.00 USD"),
    ),
    "ray": _Provider(
        _MIDDLE,
        ("# The cluster at RAY_ADDRESS.", "name: ray"),
        _NO_GPU_CHOICE,
        _declared("ray", "3.00 USD"),
    ),
    "together": _Provider(
        "Qwen/Qwen3-8B",
        ("# The key is TOGETHER_API_KEY.", "name: together"),
        ("# Together chooses the machine: there are no resources to name.",),
        _priced("Together prices tokens."),
    ),
    "modal": _Provider(
        _MIDDLE,
        ("# The keys are MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.", "name: modal"),
        _gpus("L4", "A10"),
        _priced("Modal prices seconds."),
    ),
    "lambda": _Provider(
        _MIDDLE,
        ("# The key is LAMBDA_API_KEY.", "name: lambda"),
        _gpus("A10", "A100"),
        _priced("Lambda prices minutes."),
    ),
    "anyscale": _Provider(
        _MIDDLE,
        (
            "# The token is ANYSCALE_CLI_TOKEN. Name a bucket that the cluster writes and you read.",
            "name: anyscale",
            "anyscale: {output_uri: s3://my-bucket/ftorch}",
        ),
        _gpus("L4", "A10G"),
        _priced("Anyscale prices seconds of the machines used."),
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
        "# Tokens per row, prompt included.",
        "max_length: 1024",
        "# completion: only answers are learned; all: prompts too.",
        "train_on: completion",
        "seed: 42",
    ),
    "dpo": (
        "type: dpo",
        "# Strength of the pull back to the base model.",
        "beta: 0.1",
        "lora: {rank: 16, alpha: 32, dropout: 0.0, targets: all-linear}",
        "epochs: 1",
        "# 2e-5 when not given; far below that of supervised training.",
        "# learning_rate: 2.0e-5",
        "batch_size: 16",
        "# Tokens per row, prompt included.",
        "max_length: 1024",
        "seed: 42",
    ),
}

_DATASETS: Mapping[str, tuple[str, ...]] = {
    "sft": (
        "# Relative to this file. One JSON object per line,",
        '# {"prompt": "...", "completion": "..."} or {"messages": [...]}; or a CSV file, with',
        "# columns: {text: text, label: category}",
        "path: data/train.jsonl",
        "format: auto",
    ),
    "dpo": (
        '# Relative to this file. One JSON object per line: {"prompt": "...", "chosen": "...", "rejected": "..."}',
        "path: data/preferences.jsonl",
        "format: auto",
    ),
}


def render(provider: str, method: str, name: str) -> str:
    """A manifest that loads as it is; only `dataset.path` must be filled in. Raises UsageError for unknown words."""
    slots = _known(_PROVIDERS, provider, "provider")
    steps = _known(_METHODS, method, "method")
    text = (files("ftorch.manifest") / "templates" / "job.yaml").read_text(encoding="utf-8")
    return Template(text).substitute(
        name=_plain(name),
        base_model=slots.base_model,
        method=_block(steps, "  "),
        dataset=_block(_DATASETS[method], "  ").rstrip("\n"),
        provider=_block(slots.lines, "  "),
        resources=_block(slots.resources),
        budget=_block(slots.budget),
    )


def _known(table: Mapping[str, _Slots], word: str, what: str) -> _Slots:
    if word not in table:
        raise UsageError(f"there is no template for the {what} {word!r}{did_you_mean(word, table)}")
    return table[word]


def _plain(name: str) -> str:
    """The name as YAML has it: `on` and `42` need quotes to stay text."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UsageError(
            f"{name!r} cannot name a job", hint="use lower-case letters, digits and inner dashes, at most 63"
        ) from error
    return name if yaml.safe_load(name) == name else f'"{name}"'


def _block(lines: tuple[str, ...], indent: str = "") -> str:
    return "".join(f"{indent}{line}\n" for line in lines)
