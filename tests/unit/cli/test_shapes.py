"""The JSON of answers about worth, as it is: a change of shape is seen here."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from ftorch.cli.output import to_json
from ftorch.cli.shapes import output_schema
from ftorch.costs.book.listed import shipped
from ftorch.jobs.advice.decision import decide
from ftorch.jobs.pays import lifetime_of
from unit.jobs.advice.test_decision import PAYING, TASK

START = date(2026, 11, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manifest = {
        "version": 1,
        "name": "router",
        "base_model": "Qwen/Qwen3-8B",
        "method": {"type": "sft"},
        "dataset": {"path": "rows.jsonl"},
        "provider": "local",
        "task": {**TASK, "symptoms": ["wrong_behaviour"]},
        "lifetime": {**PAYING, "periods": 3, "growth": 0.01, "hosted_shutdown": "2027-01-15"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(manifest))
    return tmp_path


def test_a_lifetime_looks_like_this(folder: Path, snapshot: SnapshotAssertion) -> None:
    found = to_json(lifetime_of(None, "job.yaml", folder, start=START))

    jsonschema.validate(found, output_schema("lifetime"))
    assert found == snapshot


def test_a_decision_looks_like_this(folder: Path, snapshot: SnapshotAssertion) -> None:
    found = to_json(decide(None, "job.yaml", folder, start=START, own_prices={}))

    jsonschema.validate(found, output_schema("decide"))
    assert {key: value for key, value in found.items() if key != "lifetime"} == snapshot


def test_a_listed_price_looks_like_this(snapshot: SnapshotAssertion) -> None:
    assert to_json(shipped()[0]) == snapshot


def test_a_comparison_has_a_schema() -> None:
    assert output_schema("compare")["properties"]["offers"]["type"] == "array"
