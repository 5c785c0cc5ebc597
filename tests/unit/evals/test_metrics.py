"""What one answer scores."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.evals.metrics import confusion, macro_f1, row_scores
from ftorch.evals.rows import ScoredRow
from ftorch.manifest.evaluation import METRICS

LABELS = ("refund", "card lost", "other")


def answer(output: str, reference: str, label: str | None = None) -> ScoredRow:
    return ScoredRow(sha256="0" * 64, output=output, reference=reference, label=label)


def score(metric: str, row: ScoredRow) -> float:
    [value] = row_scores(metric, [row], LABELS) or [-1.0]
    return value


@pytest.mark.parametrize(
    ("metric", "output", "reference", "expected"),
    [
        ("exact_match", " refund\n", "refund", 1.0),
        ("exact_match", "Refund", "refund", 0.0),
        ("normalised_match", "“Refund”.", "refund", 1.0),
        ("normalised_match", "card  LOST!", "Card lost", 1.0),
        ("normalised_match", "refunds", "refund", 0.0),
        ("label_accuracy", "Refund.", "refund", 1.0),
        ("label_accuracy", "refund please", "refund", 0.0),
        ("json_valid", '{"a": 1}', "", 1.0),
        ("json_valid", '{"a": 1', "", 0.0),
        ("json_valid", "[" * 100_000, "", 0.0),
        ("json_fields", '{"a": 1, "b": [2, 1]}', '{"a": 1.0, "b": [1, 2]}', 1.0),
        ("json_fields", '{"a": 1}', '{"a": 1, "b": 2}', 2 / 3),
        ("json_fields", '{"a": true}', '{"a": 1}', 0.0),
        ("json_fields", '{"a": {"x": "Yes."}}', '{"a": {"x": "yes"}}', 1.0),
        ("json_fields", "{}", "{}", 1.0),
        ("json_fields", "[1]", '{"a": 1}', 0.0),
        ("json_fields", "no JSON", '{"a": 1}', 0.0),
        (r"regex:\d{4}-\d\d", "2026-11\n", "", 1.0),
        (r"regex:\d{4}-\d\d", "on 2026-11", "", 0.0),
    ],
)
def test_an_answer_scores_as_its_metric_says(metric: str, output: str, reference: str, expected: float) -> None:
    assert score(metric, answer(output, reference)) == pytest.approx(expected)


def test_the_most_likely_label_counts_before_the_free_answer() -> None:
    assert score("label_accuracy", answer("something else", "refund", label="refund")) == 1.0


def test_the_likelier_answer_is_the_preferred_one() -> None:
    rows = [ScoredRow("a", chosen_logp=-3.0, rejected_logp=-4.0), ScoredRow("b", chosen_logp=-3.0, rejected_logp=-3.0)]

    assert row_scores("preference_accuracy", rows, ()) == [1.0, 0.0]


def test_an_answer_has_no_preference_and_a_preference_no_answer() -> None:
    text, pair = answer("x", "y"), ScoredRow("b", chosen_logp=-3.0, rejected_logp=-3.5)

    assert row_scores("preference_accuracy", [text], ()) is None
    assert row_scores("exact_match", [pair], ()) is None


def test_latency_is_none_where_one_row_was_not_measured() -> None:
    rows = [ScoredRow("a", latency_ms=12.0), ScoredRow("b")]

    assert row_scores("latency_ms", rows, ()) is None


def test_macro_f1_counts_every_label_alike() -> None:
    rows = [
        answer("refund", "refund"),
        answer("refund", "refund"),
        answer("refund", "card lost"),
        answer("other", "other"),
    ]

    # refund: 2*2/(2*2+1+0) = 0.8; card lost: 0; other: 1
    assert macro_f1(rows, LABELS) == pytest.approx((0.8 + 0.0 + 1.0) / 3)


def test_confusion_counts_answers_that_are_no_label() -> None:
    rows = [answer("refund", "refund"), answer("I do not know", "refund")]

    assert confusion(rows, LABELS)["refund"] == {"refund": 1, "(none)": 1}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_fields_of_an_object_with_itself_are_all_equal(value: object) -> None:
    text = json.dumps({"field": value})

    assert score("json_fields", answer(text, text)) == 1.0


def test_every_metric_of_the_manifest_can_be_computed() -> None:
    row = ScoredRow("a", output="x", reference="x", chosen_logp=None)
    pair = ScoredRow("a", chosen_logp=-1.0, rejected_logp=-2.0)

    for metric in METRICS:
        rows = [pair] if metric == "preference_accuracy" else [row]
        assert metric == "macro_f1" or row_scores(metric, rows, ("x",)) is not None
