from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from contract.together_bench import qwen
from ftorch.core.money import Money
from ftorch.emulators.together.models import MODELS, TARIFF
from ftorch.manifest.catalogue import bases, canonical_id
from ftorch.manifest.schema import BaseModelRef, Dpo, Sft
from ftorch.providers.together.prices import minimum, token_price
from ftorch.providers.together.provider import TogetherProvider
from unit.plans import facts

B = 1_000_000_000


def price(parameters: int | None, method: Sft | Dpo, base_id: str = "acme/model") -> Decimal | None:
    plan = qwen().model_copy(
        update={"parameters": parameters, "method": method, "base_model": BaseModelRef(id=base_id)}
    )
    found = token_price(plan)
    return found.per_million if found else None


@pytest.mark.parametrize(
    ("parameters", "sft", "dpo"),
    [
        (8 * B, "0.48", "1.20"),
        (16 * B, "0.48", "1.20"),
        (16 * B + 1, "1.50", "3.75"),
        (69 * B, "1.50", "3.75"),
        (70 * B, "2.90", "7.25"),
        (100 * B, "2.90", "7.25"),
    ],
)
def test_the_price_goes_by_all_parameters(parameters: int, sft: str, dpo: str) -> None:
    assert price(parameters, Sft(type="sft")) == Decimal(sft)
    assert price(parameters, Dpo(type="dpo")) == Decimal(dpo)


def test_a_model_above_the_tiers_has_a_price_of_its_own_or_none() -> None:
    assert price(235 * B, Sft(type="sft"), "Qwen/Qwen3-235B-A22B") == Decimal("6.00")
    assert price(235 * B, Sft(type="sft")) is None


def test_a_model_of_unknown_size_has_no_price() -> None:
    assert price(None, Sft(type="sft")) is None
    [place] = TogetherProvider.listed(qwen().model_copy(update={"parameters": None}))
    assert place.token_price is None


def test_a_price_names_its_source_and_its_date() -> None:
    found = token_price(qwen())

    assert found is not None
    assert found.minimum == minimum() == Money(Decimal("4.00"))
    assert found.date == date(2026, 11, 23)
    assert "together.ai/pricing" in found.words


def test_the_tokens_of_evaluations_are_in_the_estimate() -> None:
    validated = qwen().model_copy(update={"dataset": facts(validation_rows=4, validation_sha256="v" * 64)})

    found, plain = token_price(validated), token_price(qwen())

    assert found is not None
    assert plain is not None
    assert (found.validations, plain.validations) == (3, 0)


def test_the_list_agrees_with_the_other_side_s_tariff() -> None:
    sizes = {base.id: base.parameters for base in bases()}
    checked = 0
    for model in MODELS.values():
        base_id = canonical_id(model.id)
        for method in (Sft(type="sft"), Dpo(type="dpo")):
            if base_id in sizes or model.id == "Qwen/Qwen3-235B-A22B":
                assert price(sizes.get(base_id), method, base_id) == TARIFF.rate(model, method.type), model.id
                checked += 1
    assert checked > 20
