"""The decision for a manifest: what it rests on, and that it flips exactly at the figures that it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.core.errors import ManifestError, UsageError
from ftorch.core.money import Money
from ftorch.costs.lifetime import TrainCost, case_of
from ftorch.costs.thresholds import at, pays, thresholds
from ftorch.jobs.advice.decision import Decision, decide
from ftorch.jobs.advice.rule import PROMPTING, Finding
from ftorch.jobs.advice.symptoms import Answer
from ftorch.manifest.lifetime import Lifetime
from unit.costs.test_lifetime import usd

START = date(2026, 11, 1)
PAYING: Mapping[str, Any] = {
    "calls_per_period": 200000,
    "periods": 24,
    "train_cost": {"assumed": "2500 USD", "source": "a quote"},
    "hosted": {"per_call": "0.005 USD", "source": "list"},
    "serving": {"per_call": "0.0005 USD", "source": "quote"},
}
TASK: Mapping[str, Any] = {
    "kind": "classifier",
    "target": {"at_least": 0.9},
    "prompted": {"correct": 300, "rows": 500, "source": "run 12"},
    "retrieval": {"not_applicable": "the label is in the text"},
}


def decided(folder: Path, task: Mapping[str, Any] | None = TASK, lifetime: Any = PAYING, **changes: Any) -> Decision:
    manifest = {
        "version": 1,
        "name": "router",
        "base_model": "Qwen/Qwen3-8B",
        "method": {"type": "sft"},
        "dataset": {"path": "rows.jsonl"},
        "provider": "local",
        **({"task": {**task}} if task else {}),
        **({"lifetime": {**lifetime}} if lifetime else {}),
        **changes,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(manifest))
    return decide(None, "job.yaml", folder, start=START, own_prices={})


def test_with_all_three_conditions_it_is_a_fine_tune(tmp_path: Path) -> None:
    found = decided(tmp_path)

    assert found.answer is Answer.FINE_TUNE
    assert [one.finding for one in found.conditions] == [Finding.YES] * 3
    assert "300 of 500 rows (0.600" in found.conditions[0].words
    assert "run 12" in found.conditions[0].words
    assert found.lifetime is not None


@pytest.mark.parametrize(
    ("task", "lifetime", "answer", "next_step"),
    [
        (None, None, Answer.UNKNOWN, "target"),
        ({"kind": "router"}, PAYING, Answer.UNKNOWN, "target"),
        ({**TASK, "prompted": None}, PAYING, Answer.UNKNOWN, "prompted"),
        ({**TASK, "retrieval": None}, PAYING, Answer.UNKNOWN, "retrieval"),
        (TASK, None, Answer.UNKNOWN, "lifetime"),
        (TASK, {**PAYING, "train_cost": "ledger"}, Answer.UNKNOWN, "ftorch submit"),
        (
            TASK,
            {**PAYING, "train_cost": "ledger", "serving": {"per_call": "0.006 USD", "source": "x"}},
            Answer.DO_NOT,
            None,
        ),
        (TASK, {**PAYING, "calls_per_period": 2000}, Answer.DO_NOT, None),
        ({**TASK, "prompted": {"correct": 480, "rows": 500, "source": "x"}}, PAYING, Answer.PROMPT, None),
        ({**TASK, "retrieval": {"correct": 490, "rows": 500, "source": "x"}}, PAYING, Answer.RETRIEVE, None),
        ({**TASK, "retrieval": {"correct": 310, "rows": 500, "source": "x"}}, PAYING, Answer.FINE_TUNE, None),
        ({**TASK, "kind": "generator"}, PAYING, Answer.DO_NOT, None),
        ({**TASK, "kind": "generator", "allow_outer": True}, PAYING, Answer.FINE_TUNE, None),
        ({**TASK, "kind": "generator", "audience": "inner"}, PAYING, Answer.FINE_TUNE, None),
        ({**TASK, "audience": "outer"}, PAYING, Answer.DO_NOT, None),
        ({"kind": "router", "symptoms": ["vague_answers"]}, None, Answer.PROMPT, None),
    ],
)
def test_the_evidence_of_a_manifest(
    tmp_path: Path, task: Mapping[str, Any] | None, lifetime: Any, answer: Answer, next_step: str | None
) -> None:
    kept = {key: value for key, value in task.items() if value is not None} if task else None

    found = decided(tmp_path, kept, lifetime)

    assert found.answer is answer, found.reason
    assert (found.next_step is None) == (next_step is None)
    if next_step and found.next_step:
        assert next_step in found.next_step


def test_the_gate_is_the_target_where_the_task_has_none(tmp_path: Path) -> None:
    without = {key: value for key, value in TASK.items() if key != "target"}

    found = decided(tmp_path, without, eval={"gate": {"primary": "exact_match", "at_least": 0.9}})

    assert found.answer is Answer.FINE_TUNE


@pytest.mark.parametrize(("missing", "answer"), [(80, Answer.RETRIEVE), (55, Answer.UNKNOWN), (10, Answer.UNKNOWN)])
def test_errors_that_are_mostly_missing_facts_call_for_retrieval(tmp_path: Path, missing: int, answer: Answer) -> None:
    task = {key: value for key, value in TASK.items() if key != "retrieval"}
    errors = {"missing_knowledge": missing, "errors": 100, "source": "labelled by two people"}

    assert decided(tmp_path, {**task, "errors": errors}).answer is answer


def test_an_unknown_symptom_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no symptom"):
        decided(tmp_path, {**TASK, "symptoms": ["sad"]})


def test_a_job_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no job is called"):
        decide(None, "nobody", tmp_path, start=START, own_prices={})


def test_an_answer_by_symptom_says_what_would_change_it(tmp_path: Path) -> None:
    task = {**TASK, "symptoms": ["vague_answers"]}
    del task["prompted"]

    found = decided(tmp_path, task)

    assert found.answer is Answer.PROMPT
    assert [(change.answer, change.words) for change in found.would_change] == [
        (Answer.FINE_TUNE, "prompting measured to fail on 200 rows or more")
    ]


def count_in(words: str) -> int:
    found = re.search(r"at (?:most|least) (\d+) of", words)
    assert found is not None
    return int(found[1])


@given(st.integers(0, 400), st.integers(200, 400), st.sampled_from([0.5, 0.8, 0.93]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_answer_flips_exactly_at_the_printed_counts(tmp_path: Path, correct: int, rows: int, target: float) -> None:
    def of(right: int) -> Decision:
        measured = {"correct": right, "rows": rows, "source": "x"}
        return decided(tmp_path, {**TASK, "target": {"at_least": target}, "prompted": measured})

    found = of(min(correct, rows))

    for change in found.would_change:
        if change.input == PROMPTING:
            edge = count_in(change.words)
            inside = 1 if "at most" in change.words else -1
            assert of(edge).answer is change.answer
            assert of(edge + inside).answer is not change.answer


@pytest.mark.parametrize(
    "lifetime",
    [
        PAYING,
        {**PAYING, "calls_per_period": 9000},
        {**PAYING, "growth": 0.05, "hosted_price_decline": 0.02, "retrain": {"every": 6}},
        {**PAYING, "hosted_shutdown": "2028-01-01", "storage": {"per_period": "20 USD", "source": "x"}},
        {**PAYING, "serving": {"per_gpu_hour": "0.50 USD", "calls_per_hour": 2000, "source": "x"}},
        {**PAYING, "uncertainty": {"calls_per_period": 0, "hosted": 0, "serving": 0, "train_cost": 0}},
    ],
    ids=["pays", "loses", "moving", "cut", "gpus", "exact"],
)
def test_the_verdict_flips_exactly_at_the_printed_thresholds(lifetime: Mapping[str, Any]) -> None:
    block = Lifetime.model_validate(lifetime)
    case = case_of(block, TrainCost(usd("2500"), "quote", is_assumed=True), start=START)

    found = thresholds(case)

    assert found
    for flip in found:
        assert pays(at(case, flip.input, flip.pays_at)), flip
        assert not pays(at(case, flip.input, flip.loses_at)), flip


def test_the_thresholds_of_the_worked_example(tmp_path: Path) -> None:
    words = [change.words for change in decided(tmp_path).would_change]

    assert any(word.startswith("calls per period at most ") and "(now 200,000)" in word for word in words)
    assert any(word.startswith("hosted at most ") and "USD a call (now 0.005)" in word for word in words)
    assert any(word.startswith("serving at least ") for word in words)
    assert any(word.startswith("train cost at least ") and "(now 2,500)" in word for word in words)


def test_a_loss_says_what_would_make_it_pay(tmp_path: Path) -> None:
    found = decided(tmp_path, lifetime={**PAYING, "calls_per_period": 20000})

    assert found.answer is Answer.DO_NOT
    assert {change.answer for change in found.would_change if change.input == "calls_per_period"} == {Answer.FINE_TUNE}


def test_without_a_train_cost_there_are_no_thresholds() -> None:
    case = case_of(Lifetime.model_validate(PAYING), None, start=START)

    assert thresholds(case) == []


def test_what_nothing_alone_can_change_has_no_threshold() -> None:
    free = {**PAYING, "hosted": {"per_call": "0 USD", "source": "x"}, "calls_per_period": 5}
    case = case_of(Lifetime.model_validate(free), TrainCost(Money(usd("5").amount), "x", is_assumed=True), start=START)

    assert "serving" not in {flip.input for flip in thresholds(case)}
