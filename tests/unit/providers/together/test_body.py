"""What Together is sent, value by value: their defaults are not ours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from contract.together_bench import qwen
from ftorch.core.clock import ManualClock
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, Dpo, Lora, Sft, Tracking
from ftorch.providers.base import Placement, RunOrder, Staged
from ftorch.providers.together.body import create_body, price_body
from unit.plans import facts

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
DETAIL = {"training_file": "file-1", "batch_size": "8", "gradient_accumulation_steps": "2"}
VALIDATED = {**DETAIL, "validation_file": "file-2"}


def order(plan: Plan, detail: dict[str, str] = DETAIL, secrets: dict[str, str] | None = None) -> RunOrder:
    return RunOrder(
        key=KEY,
        plan=plan,
        staged=Staged(True, "b" * 64, detail),
        placement=Placement("together", None),
        send_before=ManualClock().now(),
        max_duration_s=None,
        secrets=secrets or {},
    )


def changed(**changes: Any) -> Plan:
    return qwen().model_copy(update=changes)


SFT = Sft(type="sft", lora=Lora(rank=16, alpha=32, dropout=0.05), epochs=3, learning_rate=2e-4, batch_size=16)
DPO = Dpo(
    type="dpo",
    lora=Lora(rank=8, alpha=16, targets=("q_proj", "v_proj")),
    learning_rate=2e-5,
    scheduler="cosine",
    beta=0.2,
    max_length=2048,
    seed=7,
)


def test_the_body_of_an_sft_job() -> None:
    assert create_body(order(changed(method=SFT))).json_object() == {
        "training_file": "file-1",
        "model": "Qwen/Qwen3-8B",
        "suffix": KEY,
        "n_epochs": 3,
        "n_evals": 0,
        "n_checkpoints": 1,
        "packing": True,
        "batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 2e-4,
        "lr_scheduler": {"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.0}},
        "warmup_ratio": 0.05,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "max_seq_length": 1024,
        "random_seed": 42,
        "early_stopping_enabled": False,
        "training_type": {
            "type": "Lora",
            "lora_r": 16,
            "lora_alpha": 32,
            "lora_dropout": 0.05,
            "lora_trainable_modules": "all-linear",
        },
        "training_method": {"method": "sft", "train_on_inputs": False},
    }


def test_the_body_of_a_dpo_job() -> None:
    body = create_body(order(changed(method=DPO))).json_object()

    assert body["training_method"] == {
        "method": "dpo",
        "dpo_beta": 0.2,
        "dpo_normalize_logratios_by_length": False,
        "dpo_reference_free": False,
    }
    assert body["lr_scheduler"] == {
        "lr_scheduler_type": "cosine",
        "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 0.5},
    }
    assert body["training_type"]["lora_trainable_modules"] == "q_proj,v_proj"
    assert (body["n_epochs"], body["max_seq_length"], body["random_seed"]) == (1, 2048, 7)


def test_prompts_are_learned_too_where_the_manifest_says_so() -> None:
    all_of_it = SFT.model_copy(update={"train_on": "all"})

    body = create_body(order(changed(method=all_of_it))).json_object()

    assert body["training_method"] == {"method": "sft", "train_on_inputs": True}


def test_validation_rows_are_read_once_an_epoch() -> None:
    validated = changed(method=SFT, dataset=facts(validation_rows=4, validation_sha256="v" * 64))

    body = create_body(order(validated, VALIDATED)).json_object()

    assert (body["validation_file"], body["n_evals"]) == ("file-2", 3)


def test_the_model_goes_by_together_s_own_id() -> None:
    llama = changed(base_model=BaseModelRef(id="meta-llama/Llama-3.1-8B-Instruct"))
    unknown = changed(base_model=BaseModelRef(id="acme/model-of-tomorrow"))

    assert price_body(llama, DETAIL).model == "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
    assert price_body(unknown, DETAIL).model == "acme/model-of-tomorrow"


def test_curves_go_to_weights_and_biases_with_the_key_from_the_secrets() -> None:
    tracked = changed(tracking=Tracking(wandb={"project": "support", "entity": "team"}))

    body = create_body(order(tracked, secrets={"WANDB_API_KEY": "wb-1"}))

    wandb = {name: value for name, value in body.json_object().items() if name.startswith("wandb")}
    assert wandb == {
        "wandb_key": "wb-1",
        "wandb_project_name": "support",
        "wandb_name": KEY,
        "wandb_entity": "team",
    }
    assert "wb-1" not in repr(body)


def test_a_price_is_asked_for_with_what_it_goes_by_and_nothing_else() -> None:
    asked = price_body(changed(method=SFT), DETAIL).json_object()
    ordered = create_body(order(changed(method=SFT))).json_object()

    assert set(asked) == {"training_file", "model", "n_epochs", "n_evals", "training_type", "training_method"}
    assert asked.items() <= ordered.items()


def test_a_value_that_no_field_knows_is_a_mistake_of_ours() -> None:
    body = create_body(order(changed(method=SFT)))

    with pytest.raises(ValidationError, match="lora_rank"):
        type(body).model_validate({**body.model_dump(), "lora_rank": 8})


def test_a_key_that_is_longer_than_a_suffix_is_not_sent() -> None:
    body = create_body(order(changed(method=SFT)))

    with pytest.raises(ValidationError, match="suffix"):
        type(body).model_validate({**body.model_dump(), "suffix": "x" * 41})
