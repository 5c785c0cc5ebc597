from __future__ import annotations

from typing import Any

import pytest

from contract.together_bench import qwen
from ftorch.core.errors import RunRejectedError
from ftorch.manifest.schema import Dpo, Lora, Sft
from ftorch.providers.together.api import Limits
from ftorch.providers.together.limits import Batch, fit

LIMITS: dict[str, Any] = {
    "lora_training": {
        "max_rank": 64,
        "min_batch_size": 8,
        "max_batch_size": 32,
        "max_batch_size_dpo": 8,
        "target_modules": ["q_proj", "v_proj"],
    },
    "min_learning_rate": 1e-8,
    "max_learning_rate": 1e-2,
    "max_num_epochs": 20,
    "max_num_evals": 100,
    "min_max_seq_length": 32,
    "max_seq_length_sft": 8192,
    "max_seq_length_dpo": 4096,
}


def fitted(method: Sft | Dpo, **limits: Any) -> Batch:
    return fit(qwen().model_copy(update={"method": method}), Limits.model_validate({**LIMITS, **limits}))


def sft(**changes: Any) -> Sft:
    return Sft(**{"type": "sft", "lora": Lora(rank=8, alpha=16), "learning_rate": 1e-4, **changes})


@pytest.mark.parametrize(
    ("batch_size", "batch"),
    [
        (8, Batch(8, 1)),
        (16, Batch(16, 1)),
        (32, Batch(32, 1)),
        (64, Batch(32, 2)),
        (48, Batch(24, 2)),
        (9, Batch(9, 1)),
    ],
)
def test_a_batch_is_taken_in_as_few_passes_as_may_be(batch_size: int, batch: Batch) -> None:
    assert fitted(sft(batch_size=batch_size)) == batch


def test_dpo_has_smaller_batches() -> None:
    assert fitted(Dpo(type="dpo", lora=Lora(rank=8, alpha=16), learning_rate=1e-5, batch_size=16)) == Batch(8, 2)


def test_a_batch_that_no_number_of_passes_makes_is_refused() -> None:
    with pytest.raises(RunRejectedError, match=r"batch_size is 4, it must be a multiple of a number from 8 to 32"):
        fitted(sft(batch_size=4))

    only_eight = {**LIMITS["lora_training"], "max_batch_size": 8}
    with pytest.raises(RunRejectedError, match=r"batch_size is 12, it must be a multiple of 8"):
        fitted(sft(batch_size=12), lora_training=only_eight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora": Lora(rank=128, alpha=16)}, "method.lora.rank is 128, the most is 64"),
        ({"epochs": 21}, "method.epochs is 21, the most is 20"),
        ({"learning_rate": 0.1}, "method.learning_rate is 0.1, the most is 0.01"),
        ({"learning_rate": 1e-9}, "method.learning_rate is 1e-09, the least is 1e-08"),
        ({"max_length": 8193}, "method.max_length is 8193, the most is 8192"),
        ({"max_length": 16}, "method.max_length is 16, the least is 32"),
        (
            {"lora": Lora(rank=8, alpha=16, targets=("q_proj", "lm_head"))},
            "method.lora.targets has 'lm_head', the model has q_proj, v_proj",
        ),
    ],
)
def test_what_is_outside_of_the_limits_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RunRejectedError) as caught:
        fitted(sft(**changes))

    assert caught.value.message == f"together does not train Qwen/Qwen3-8B like this: {words}"
    assert caught.value.hint


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(RunRejectedError) as caught:
        fitted(sft(epochs=21, batch_size=4, max_length=16))

    assert caught.value.message.count(";") == 2


def test_what_the_published_specification_leaves_out_is_not_checked() -> None:
    unsaid = {"min_max_seq_length": None, "max_seq_length_sft": None, "max_seq_length_dpo": None}

    assert fitted(sft(max_length=100_000), **unsaid) == Batch(16, 1)
    anything = {name: value for name, value in LIMITS["lora_training"].items() if name != "target_modules"}
    assert fitted(sft(lora=Lora(rank=8, alpha=16, targets=("lm_head",))), lora_training=anything) == Batch(16, 1)
