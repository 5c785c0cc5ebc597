"""What a plan asks of a provider beyond the ordinary."""

from __future__ import annotations

from typing import Any

import pytest

from ftorch.jobs.plan import features
from ftorch.manifest.schema import BaseModelRef, Dpo, Lora, Sft, Tracking
from ftorch.providers.base import Feature
from unit.plans import plan

WANDB = Tracking(wandb={"project": "support"})


def asked(**changes: Any) -> frozenset[Feature]:
    return features(plan(base_model=BaseModelRef(id="Qwen/Qwen3-8B"), **changes))


def sft(**changes: Any) -> Sft:
    return Sft(type="sft", lora=Lora(rank=4, alpha=8), **changes)


def test_an_ordinary_plan_asks_for_its_method_alone() -> None:
    assert asked() == {Feature.SFT}
    assert asked(method=Dpo(type="dpo", lora=Lora(rank=4, alpha=8))) == {Feature.DPO}


@pytest.mark.parametrize(
    ("changes", "feature"),
    [
        ({"method": sft(epochs=2.5)}, Feature.PART_EPOCHS),
        ({"method": sft(max_steps=5)}, Feature.MAX_STEPS),
        ({"method": sft(train_on="all")}, Feature.TRAIN_ON_ALL),
        ({"secrets": {"HF_TOKEN": "env:HF_TOKEN"}}, Feature.SECRETS),
        ({"tracking": WANDB}, Feature.WANDB),
        ({"tracking": Tracking(mlflow={"project": "support"})}, Feature.MLFLOW),
        ({"tracking": Tracking(trackio={"project": "support"})}, Feature.TRACKIO),
    ],
)
def test_what_goes_beyond_it_is_named(changes: dict[str, Any], feature: Feature) -> None:
    assert asked(**changes) == {Feature.SFT, feature}


def test_a_pinned_revision_is_asked_for() -> None:
    pinned = BaseModelRef(id="Qwen/Qwen3-8B", revision="b968826d9c46dd6066d109eabc6255188de91218")

    assert features(plan(base_model=pinned)) == {Feature.SFT, Feature.REVISION}


def test_the_key_of_its_tracking_is_no_secret_of_the_run() -> None:
    key = {"WANDB_API_KEY": "env:WANDB_API_KEY"}

    assert asked(tracking=WANDB, secrets=key) == {Feature.SFT, Feature.WANDB}
    assert Feature.SECRETS in asked(secrets=key)
