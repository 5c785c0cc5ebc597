"""What a plan asks of a provider beyond the ordinary."""

from __future__ import annotations

from typing import Any

import pytest

from ftorch.core.errors import ManifestError
from ftorch.jobs.plan import check_capabilities, features
from ftorch.manifest.schema import BaseModelRef, Dpo, Lora, Resources, Sft, Tracking
from ftorch.providers.base import Feature
from ftorch.providers.ray.capabilities import CAPABILITIES as RAY
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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 16}, "method.batch_size: 16 rows cannot be shared by 3 workers"),
        ({"batch_size": 12, "micro_batch_size": 3}, "method.micro_batch_size: must divide the 4 rows of each worker"),
    ],
)
def test_rows_that_workers_cannot_share_evenly_are_refused_before_anything_is_sent(
    values: dict[str, Any], words: str
) -> None:
    uneven = plan(method=sft(**values), resources=Resources(workers=3), providers=("ray",))

    with pytest.raises(ManifestError, match=words):
        check_capabilities(uneven, "ray", RAY, "m.yaml")


def test_rows_that_workers_share_evenly_pass() -> None:
    even = plan(
        base_model=BaseModelRef(id="Qwen/Qwen3-8B"),
        method=sft(batch_size=12, micro_batch_size=2),
        resources=Resources(workers=3),
        providers=("ray",),
    )

    check_capabilities(even, "ray", RAY, "m.yaml")
