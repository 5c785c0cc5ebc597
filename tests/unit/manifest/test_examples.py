"""The manifests in jobs/ and their rows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from ftorch.core.normalise import normalise
from ftorch.manifest.catalogue import check_base
from ftorch.manifest.load import load_manifest
from ftorch.manifest.settings import load_settings
from ftorch.providers.base import PriceListed
from ftorch.providers.registry import provider_class

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

    settings = load_settings(JOBS, {"XDG_CONFIG_HOME": "/none"})

    assert manifest.budget is not None or path.stem == "worked-example"
    unpriced = {name for name in manifest.provider.names if not isinstance(provider_class(name), PriceListed)}
    assert unpriced <= set(settings.declared_rates())


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
