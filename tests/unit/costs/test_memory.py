"""What one GPU must hold: the stated formula, against sizes that are known from elsewhere."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ftorch.costs.book.memory import Fit, MemoryNeed, memory_need, rows_per_pass
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Dpo, Lora, Sft
from unit.plans import facts, plan


def asked(parameters: int | None = 8_200_000_000, rows: int = 1, tokens: int = 2048, **method: object) -> Plan:
    values = {"type": "sft", "lora": Lora(rank=16), "max_length": 2048, "micro_batch_size": rows, "batch_size": 16}
    chosen = Sft.model_validate({**values, **method})
    return plan(parameters=parameters, method=chosen, dataset=facts(longest_row_tokens=tokens))


def need(chosen: Plan) -> MemoryNeed:
    found = memory_need(chosen)
    assert found is not None
    return found


@pytest.mark.parametrize(("parameters", "at_least"), [(3_000_000_000, 8), (8_000_000_000, 22), (70_000_000_000, 164)])
def test_it_is_a_little_above_the_least_that_is_known_to_do(parameters: int, at_least: int) -> None:
    """Unsloth's table of absolute minima for LoRA in 16 bit."""
    assert at_least <= need(asked(parameters)).total <= at_least * Decimal("1.75")


def test_the_whole_is_the_parts_with_cuda_and_a_margin() -> None:
    found = need(asked())

    parts = found.weights + found.adapter + found.activations + found.logits + 2
    assert abs(found.total - parts * Decimal("1.2")) < Decimal("0.6")


def test_four_bits_need_a_third_of_the_weights() -> None:
    assert need(asked(quantize="4bit")).weights == Decimal("5.0")
    assert need(asked()).weights == Decimal("16.4")


def test_more_rows_and_longer_rows_need_more() -> None:
    assert need(asked(rows=1, tokens=512)).total < need(asked(rows=1)).total < need(asked(rows=8)).total


def test_rows_are_cut_at_the_manifests_length() -> None:
    assert need(asked(tokens=100_000)) == need(asked(tokens=2048))


def test_dpo_answers_twice() -> None:
    sft = asked()
    dpo = sft.model_copy(
        update={"method": Dpo.model_validate(sft.method.model_dump(exclude={"train_on"}) | {"type": "dpo"})}
    )

    assert abs(need(dpo).logits - 2 * need(sft).logits) <= Decimal("0.1")
    assert need(dpo).weights == need(sft).weights


def test_without_a_size_nobody_knows() -> None:
    assert memory_need(asked(parameters=None)) is None


@pytest.mark.parametrize(
    ("batch", "micro", "rows"), [(16, None, 8), (12, None, 6), (7, None, 7), (13, None, 1), (16, 2, 2)]
)
def test_rows_per_pass_are_the_trainers(batch: int, micro: int | None, rows: int) -> None:
    assert rows_per_pass(plan(method=Sft(type="sft", batch_size=batch, micro_batch_size=micro))) == rows


def test_what_fits_is_said_at_the_edge() -> None:
    found = need(asked())

    assert found.fit(found.total - Decimal("0.1")) is Fit.TOO_LARGE
    assert found.fit(found.total) is Fit.TIGHT
    assert found.fit(found.total * Decimal("1.12")) is Fit.FITS
    assert found.fit(None) is Fit.UNKNOWN
