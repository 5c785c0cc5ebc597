"""The manifests in jobs/ and their rows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from ftorch.core.normalise import normalise
from ftorch.jobs.plan import check_capabilities
from ftorch.manifest.catalogue import check_base, find_base
from ftorch.manifest.load import load_manifest
from ftorch.manifest.schema import Manifest
from ftorch.manifest.settings import load_settings
from ftorch.providers.base import Catalogued, PriceListed
from ftorch.providers.registry import OURS, provider_class
from unit.plans import plan

JOBS = Path(__file__).parents[3] / "jobs"
KEYS = ({"prompt", "completion"}, {"prompt", "chosen", "rejected"})
EXAMPLES = sorted(JOBS.glob("*.yaml"))


def test_there_is_an_example_of_each_method() -> None:
    assert {load_manifest(path).method.type for path in EXAMPLES} == {"sft", "dpo"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_named_as_its_file_and_trains_a_known_base(path: Path) -> None:
    manifest = load_manifest(path)

    assert manifest.name == path.stem
    assert check_base(manifest.base_model.id, path.parent) is not None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_budget_of_an_example_has_a_price_in_this_clone(path: Path) -> None:
    manifest = load_manifest(path)

    assert manifest.budget is not None or path.stem == "worked-example"
    assert all(is_priced(manifest, name) for name in manifest.provider.names)


def is_priced(manifest: Manifest, name: str) -> bool:
    """By the rate that this clone declares, by a list that ftorch ships, or by the provider's own catalogue."""
    settings = load_settings(JOBS, {"XDG_CONFIG_HOME": "/none"})
    provider = provider_class(name)
    if issubclass(provider, Catalogued):
        return True
    if not issubclass(provider, PriceListed):
        return name in settings.declared_rates()
    base = find_base(manifest.base_model.id)
    one = plan(
        base_model=manifest.base_model,
        parameters=base and base.parameters,
        method=manifest.method,
        options=manifest.provider.options,
        resources=manifest.resources,
        declared_rates=settings.declared_rates(),
    )
    placement = provider.listed(one)[0]
    return placement.token_price is not None or placement.rate is not None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_providers_of_an_example_can_do_what_it_asks(path: Path) -> None:
    manifest = load_manifest(path)
    one = plan(base_model=manifest.base_model, method=manifest.method, resources=manifest.resources)

    for name in manifest.provider.names:
        check_capabilities(one, name, provider_class(name).capabilities, str(path))


def test_every_provider_that_trains_has_an_example_of_each_method() -> None:
    shown = {
        (name, load_manifest(path).method.type) for path in EXAMPLES for name in load_manifest(path).provider.names
    }

    assert shown >= {(name, method) for name in OURS for method in ("sft", "dpo")}


@pytest.mark.parametrize("name", ["tiny.jsonl", "tiny-preference.jsonl"])
def test_the_rows_of_an_example_are_complete_and_all_different(name: str) -> None:
    rows = [json.loads(line) for line in (JOBS / "data" / name).read_text().splitlines()]

    assert len(rows) >= 60
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert all(set(row) in KEYS and all(row.values()) for row in rows)
    assert all(row.get("chosen") != row.get("rejected") for row in rows if "chosen" in row)


def test_the_demo_has_ten_intents_or_more_and_no_ticket_twice() -> None:
    train, held_out = tickets("support-train.csv"), tickets("support-held-out.csv")

    texts = [normalise(row["text"]) for row in train + held_out]
    assert len(train) >= 400
    assert len(held_out) >= 150
    assert len(set(texts)) == len(texts)
    assert {row["label"] for row in train} == {row["label"] for row in held_out}
    assert len({row["label"] for row in train}) >= 10


def test_no_ticket_of_the_demo_begins_like_many_others() -> None:
    beginnings = Counter(" ".join(row["text"].lower().split()[:3]) for row in tickets("support-train.csv"))

    assert beginnings.most_common(1)[0][1] <= 0.03 * beginnings.total()


def tickets(name: str) -> list[dict[str, str]]:
    with (JOBS / "data" / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
