"""Specs: what is read, what is refused, and what makes two jobs the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftorch.trainer.errors import SpecError
from ftorch.trainer.spec import Job, TrainSpec, evaluate_job, largest_divisor, train_job

MINIMAL: dict[str, Any] = {
    "version": 1,
    "method": "sft",
    "base_model": {"id": "some/model"},
    "train_file": "train.jsonl",
    "train_sha256": "0" * 64,
}


def job(**changes: Any) -> Job[TrainSpec]:
    return train_job(json.dumps({**MINIMAL, **changes}).encode(), Path("/jobs"))


def test_every_key_has_the_default_of_the_manifest() -> None:
    spec = job().spec

    assert (spec.epochs, spec.batch_size, spec.learning_rate, spec.lora.rank, spec.lora.scale) == (3, 16, 2e-4, 16, 32)
    assert (spec.scheduler, spec.warmup_ratio, spec.seed, spec.beta, spec.max_length) == ("linear", 0.05, 42, 0.1, 1024)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learnign_rate": 1}, "learnign_rate: not a known key (did you mean 'learning_rate'?)"),
        ({"lora": {"r": 8}}, "lora.r: not a known key"),
        ({"lora": {"rank": "8"}}, "lora.rank: expected a whole number, not '8'"),
        ({"lora": {"rank": 0}}, "lora.rank: 0 is not at least 1"),
        ({"lora": {"dropout": 1}}, "lora.dropout: 1 is not below 1"),
        ({"lora": {"targets": "attention"}}, "lora.targets: expected 'all-linear' or a list of text"),
        ({"lora": {"targets": ["lm_head"]}}, "lora.targets: 'lm_head' cannot be trained"),
        ({"version": 2}, "version: expected 1, not 2"),
        ({"method": "ppo"}, "method: expected 'sft' or 'dpo', not 'ppo'"),
        ({"epochs": True}, "epochs: expected a number"),
        ({"epochs": 0}, "epochs: 0 is not above 0"),
        ({"max_steps": 1.5}, "max_steps: expected a whole number"),
        ({"base_model": {"path": "/x"}}, "base_model.id: missing"),
        ({"base_model": "some/model"}, "base_model is not an object"),
        ({"workers": 3}, "workers: 3 cannot share batch_size, 16, evenly"),
        ({"workers": 2, "micro_batch_size": 16}, "16 does not divide batch_size, 16, 8 for each worker"),
        ({"batch_size": 16, "micro_batch_size": 5}, "micro_batch_size: 5 does not divide batch_size, 16"),
        ({"tracking": {"wandb": {"project": 1}}}, "project: expected text"),
    ],
)
def test_wrong_key_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        job(**changes)

    assert words in caught.value.message


def test_spec_that_is_no_json_is_refused() -> None:
    with pytest.raises(SpecError, match="not JSON"):
        train_job(b"{", Path())


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["a", "a"], "kind": "generate"},
        {"labels": ["a"], "kind": "preference"},
        {"labels": [], "kind": "generate"},
    ],
)
def test_labels_that_make_no_sense_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    spec = {"version": 1, "base_model": {"id": "x"}, "rows_file": "rows.jsonl", **changes}

    with pytest.raises(SpecError, match="labels"):
        evaluate_job(json.dumps(spec).encode(), tmp_path)


@pytest.mark.parametrize(("batch", "micro"), [(1, 1), (7, 7), (8, 8), (12, 6), (16, 8), (18, 6), (11, 1)])
def test_micro_batch_is_the_largest_divisor_up_to_eight(batch: int, micro: int) -> None:
    spec = job(batch_size=batch).spec

    assert largest_divisor(batch, 8) == micro
    assert (spec.micro_batch, spec.accumulation) == (micro, batch // micro)


@pytest.mark.parametrize(
    "changes",
    [
        {"run_name": "ft-x"},
        {"max_duration_s": 60},
        {"threads": 2},
        {"resume_from": "elsewhere"},
        {"save_every_steps": 3},
        {"tracking": {"wandb": {"project": "x"}}},
        {"train_file": "moved.jsonl"},
        {"base_model": {"id": "some/model", "path": "/here"}},
        {"beta": 0.5},  # not read by sft
        {"micro_batch_size": 8},  # what it is anyway
        {"lora": {"alpha": 32}},  # twice the rank
    ],
)
def test_same_job_has_the_same_fingerprint(changes: dict[str, Any]) -> None:
    assert job(**changes).fingerprint == job().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-4},
        {"seed": 1},
        {"train_sha256": "1" * 64},
        {"micro_batch_size": 4},
        {"base_model": {"id": "some/model", "revision": "abc"}},
        {"lora": {"rank": 8}},
        {"train_on": "all"},
        {"dtype": "float32"},
        {"method": "dpo"},
    ],
)
def test_other_job_has_another_fingerprint(changes: dict[str, Any]) -> None:
    assert job(**changes).fingerprint != job().fingerprint


def test_start_adapter_counts_by_its_weights(tmp_path: Path) -> None:
    def fingerprint(weights: bytes) -> str:
        (tmp_path / "adapter").mkdir(exist_ok=True)
        (tmp_path / "adapter/adapter_model.safetensors").write_bytes(weights)
        text = json.dumps({**MINIMAL, "from_adapter": "adapter"}).encode()
        return train_job(text, tmp_path).fingerprint

    assert fingerprint(b"one") == fingerprint(b"one")
    assert fingerprint(b"one") != fingerprint(b"two")
