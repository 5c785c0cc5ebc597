"""Our create body beside the SDK's own: the same parameters, both caught on the wire.

What differs is listed with its reason, and nothing else may: an upgrade of the SDK that drifts is seen here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import together

from contract.together_bench import PREFERENCE, TogetherBench, bundle_of, qwen
from ftorch.emulators.server import Request
from ftorch.emulators.together import KEY, TogetherEmulator
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Dpo, Lora, Sft
from ftorch.providers.base import RunOrder
from ftorch.providers.together.body import create_body

DIFFERENCES: Mapping[str, tuple[Any, Any, str]] = {
    # field: what the SDK sends, what we send (None: nothing), why
    "validation_file": ("", None, "the SDK's default is an empty id; without validation rows we name no file"),
}
CREATE = "POST /v1/fine-tunes"

SFT = Sft(
    type="sft",
    lora=Lora(rank=16, alpha=32, dropout=0.1),
    epochs=2,
    learning_rate=3e-4,
    batch_size=64,
    max_length=2048,
    seed=7,
    warmup_ratio=0.1,
    scheduler="cosine",
    weight_decay=0.01,
    max_grad_norm=0.5,
)
DPO = Dpo(type="dpo", lora=Lora(rank=8, alpha=16, targets=("q_proj", "v_proj")), learning_rate=2e-5, beta=0.2)
LEARN_ALL = SFT.model_copy(update={"train_on": "all", "scheduler": "linear"})
SETTINGS: tuple[tuple[Sft | Dpo, Mapping[str, Any]], ...] = (
    (SFT, {"training_method": "sft", "train_on_inputs": False}),
    (LEARN_ALL, {"training_method": "sft", "train_on_inputs": True}),
    (DPO, {"training_method": "dpo", "dpo_beta": 0.2}),
)


def theirs(emulator: TogetherEmulator, order: RunOrder, special: Mapping[str, Any]) -> dict[str, Any]:
    """What the unmodified SDK sends for the order."""
    bodies: list[dict[str, Any]] = []

    def note(_moment: object, _number: int, request: Request) -> None:
        if request.route == CREATE:
            bodies.append(json.loads(request.body))

    emulator.watch = note
    method, targets = order.plan.method, order.plan.method.lora.targets
    with together.Together(api_key=KEY, base_url=emulator.url, max_retries=0) as client:
        client.fine_tuning.create(
            training_file=order.staged.detail["training_file"],
            model=order.plan.base_model.id,
            suffix=order.key,
            n_epochs=int(method.epochs),
            packing=True,
            n_evals=0,
            n_checkpoints=1,
            batch_size=int(order.staged.detail["batch_size"]),
            gradient_accumulation_steps=int(order.staged.detail["gradient_accumulation_steps"]),
            learning_rate=method.learning_rate,
            lr_scheduler_type=method.scheduler,
            warmup_ratio=method.warmup_ratio,
            max_grad_norm=method.max_grad_norm,
            weight_decay=method.weight_decay,
            max_seq_length=method.max_length,
            random_seed=method.seed,
            lora=True,
            lora_r=method.lora.rank,
            lora_alpha=method.lora.alpha,
            lora_dropout=method.lora.dropout,
            lora_trainable_modules=targets if isinstance(targets, str) else ",".join(targets),
            **special,
        )
    return bodies[-1]


def planned(method: Sft | Dpo) -> Plan:
    return qwen().model_copy(update={"method": method})


def ordered(bench: TogetherBench, plan: Plan) -> RunOrder:
    """Staged as preference rows where the method needs them, or the service would refuse the SDK's create."""
    if isinstance(plan.method, Dpo):
        bench.bundle = bundle_of([PREFERENCE] * 8, bench.bundle.folder.parent / "dpo", plan)
    bench.plan = plan
    return bench.order()


@pytest.mark.parametrize(("method", "special"), SETTINGS, ids=["sft", "sft on all", "dpo"])
def test_our_body_is_the_sdk_s_up_to_what_is_listed(
    bench: TogetherBench, emulator: TogetherEmulator, method: Sft | Dpo, special: Mapping[str, Any]
) -> None:
    order = ordered(bench, planned(method))

    sent, ours = theirs(emulator, order, special), create_body(order).json_object()

    different = {
        name: (sent.get(name), ours.get(name))
        for name in sorted(sent.keys() | ours.keys())
        if sent.get(name) != ours.get(name)
    }
    assert different == {name: (there, here) for name, (there, here, _why) in DIFFERENCES.items()}


def test_what_the_sdk_would_send_by_default_is_not_what_we_mean(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    """The defaults that made us write every value out."""
    order = ordered(bench, planned(SFT))
    bodies: list[dict[str, Any]] = []
    emulator.watch = lambda _moment, _number, request: (
        bodies.append(json.loads(request.body)) if request.route == CREATE else None
    )

    with together.Together(api_key=KEY, base_url=emulator.url, max_retries=0) as client:
        client.fine_tuning.create(training_file=order.staged.detail["training_file"], model="Qwen/Qwen3-8B")

    sent = bodies[-1]
    assert sent["training_method"] == {"method": "sft", "train_on_inputs": "auto"}
    assert (sent["learning_rate"], sent["batch_size"]) == (1e-5, "max")
    assert not {"random_seed", "training_type", "suffix", "max_seq_length"} & sent.keys()


def test_a_create_is_three_requests_by_the_sdk_and_one_by_us(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    order = ordered(bench, planned(SFT))
    before = emulator.requests.total()
    theirs(emulator, order, {"training_method": "sft", "train_on_inputs": False})
    by_sdk = emulator.requests.total() - before

    bench.provider.submit(bench.order())  # asks for the account, once
    before = emulator.requests.total()
    bench.provider.submit(order)

    assert (by_sdk, emulator.requests.total() - before) == (3, 1)
