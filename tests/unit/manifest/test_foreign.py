from __future__ import annotations

import pytest

from ftorch.manifest.faults import allowed_at
from ftorch.manifest.foreign import FOREIGN
from ftorch.manifest.schema import Manifest

# Below these the keys are the user's own.
FREE = ("tracking.wandb",)


@pytest.mark.parametrize("ours", sorted({ours for _, ours in FOREIGN.values()}))
def test_the_key_that_is_named_instead_exists(ours: str) -> None:
    *above, key = ours.split(".")

    assert ".".join(above) in FREE or key in allowed_at(Manifest, tuple(above))


def test_the_names_that_people_bring_most_often_are_known() -> None:
    expected = {
        "lora_r": "method.lora.rank",
        "n_epochs": "method.epochs",
        "num_train_epochs": "method.epochs",
        "max_seq_length": "method.max_length",
        "train_on_inputs": "method.train_on",
        "lr": "method.learning_rate",
        "lora_alpha": "method.lora.alpha",
        "per_device_train_batch_size": "method.micro_batch_size",
        "sequence_len": "method.max_length",
        "training_file": "dataset.path",
        "model": "base_model",
        "max_usd": "budget.limit",
    }

    assert {name: FOREIGN[name][1] for name in expected} == expected
