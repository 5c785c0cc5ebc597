"""The manifests in jobs/ and their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftorch.manifest.catalogue import check_base
from ftorch.manifest.load import load_manifest
from ftorch.manifest.settings import load_settings

JOBS = Path(__file__).parents[3] / "jobs"
KEYS = {"sft": {"prompt", "completion"}, "dpo": {"prompt", "chosen", "rejected"}}
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

    assert manifest.budget is not None
    assert set(manifest.provider.names) <= set(settings.declared_rates())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_rows_of_an_example_are_complete_and_all_different(path: Path) -> None:
    manifest = load_manifest(path)
    rows = [json.loads(line) for line in (path.parent / manifest.dataset.path).read_text().splitlines()]

    assert len(rows) >= 60
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert all(set(row) == KEYS[manifest.method.type] and all(row.values()) for row in rows)
    assert all(row.get("chosen") != row.get("rejected") for row in rows if "chosen" in row)
