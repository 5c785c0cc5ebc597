"""The comparison on rows: figures, paired differences, adjusted p values, the gate, and quality for the lifetime."""

from __future__ import annotations

import pytest

from ftorch.core.errors import UsageError
from ftorch.core.quality import QualityState
from ftorch.evals.gate import Verdict
from ftorch.evals.quality import quality
from ftorch.evals.report import compare
from ftorch.evals.rows import ScoredRow
from ftorch.manifest.evaluation import Gate, Guardrail

LABELS = ("a", "b")


def rows(right: int, of: int, *, latency_ms: float | None = None) -> list[ScoredRow]:
    """The first `right` rows are answered right."""
    return [
        ScoredRow(f"{n:064d}", output="a" if n < right else "b", reference="a", latency_ms=latency_ms)
        for n in range(of)
    ]


def test_every_model_has_a_figure_with_its_interval_on_every_metric() -> None:
    found = compare({"tuned": rows(90, 100), "base": rows(10, 100)}, ["exact_match", "macro_f1"], labels=LABELS)

    assert [(one.model, one.metric) for one in found.figures] == [
        ("tuned", "exact_match"),
        ("base", "exact_match"),
        ("tuned", "macro_f1"),
        ("base", "macro_f1"),
    ]
    tuned = found.figure("tuned", "exact_match")
    assert tuned is not None
    assert tuned.interval is not None
    assert (tuned.value, round(tuned.interval.low, 3), round(tuned.interval.high, 3)) == (0.9, 0.826, 0.945)


def test_the_difference_is_paired_by_row() -> None:
    found = compare({"tuned": rows(90, 100), "base": rows(10, 100)}, ["exact_match"])

    [difference] = found.differences
    assert (difference.better, difference.worse) == (80, 0)
    assert difference.difference == pytest.approx(0.8)
    assert difference.p_value is not None
    assert difference.p_value < 1e-20


def test_p_values_are_adjusted_for_all_that_are_shown() -> None:
    scores = {"tuned": rows(60, 100), "base": rows(50, 100)}

    alone = compare(scores, ["exact_match"]).differences
    together = compare(scores, ["exact_match", "normalised_match"]).differences

    assert together[0].p_value == pytest.approx(2 * (alone[0].p_value or 0))


def test_a_gate_is_judged_on_the_same_rows() -> None:
    gate = Gate(primary="exact_match", at_least=0.80, beats="base")

    found = compare({"tuned": rows(95, 100), "base": rows(10, 100)}, ["exact_match"], gate=gate)

    assert found.gate is not None
    assert found.gate.verdict is Verdict.PASS


def test_the_metric_of_a_gate_need_not_be_among_those_shown() -> None:
    gate = Gate(primary="normalised_match", at_least=0.80)

    found = compare({"tuned": rows(95, 100)}, ["exact_match"], gate=gate)

    assert {one.metric for one in found.figures} == {"exact_match"}
    assert found.gate is not None


def test_a_guardrail_on_latency_that_nobody_measured_is_refused() -> None:
    gate = Gate(primary="exact_match", at_least=0.5, guardrails=(Guardrail(metric="p95_latency_ms", at_most=800),))

    with pytest.raises(UsageError, match="latency_ms"):
        compare({"tuned": rows(95, 100)}, ["exact_match"], gate=gate)


def test_confusion_is_told_only_where_there_are_labels() -> None:
    assert compare({"tuned": rows(1, 2)}, ["exact_match"]).confusion is None
    assert compare({"tuned": rows(1, 2)}, ["exact_match"], labels=LABELS).confusion == {"a": {"a": 1, "b": 1}, "b": {}}


@pytest.mark.parametrize(
    ("tuned", "hosted", "of", "state"),
    [
        (180, 180, 200, QualityState.AT_LEAST_HOSTED),
        (150, 190, 200, QualityState.WORSE),
        (9, 9, 10, QualityState.INCONCLUSIVE),
        (186, 190, 200, QualityState.INCONCLUSIVE),
    ],
)
def test_quality_is_at_least_hosteds_only_when_the_bound_says_so(
    tuned: int, hosted: int, of: int, state: QualityState
) -> None:
    assert quality({"tuned": rows(tuned, of), "hosted": rows(hosted, of)}, "exact_match").state is state


def test_quality_is_not_measured_before_the_hosted_model_has_answered() -> None:
    assert quality({"tuned": rows(9, 10), "base": rows(1, 10)}, "exact_match").state is QualityState.NOT_MEASURED


def test_the_margin_is_the_gates_where_it_names_the_hosted_model() -> None:
    scores = {"tuned": rows(186, 200), "hosted": rows(190, 200)}
    gate = Gate(primary="exact_match", beats="hosted", no_worse_by=0.10)

    assert quality(scores, "exact_match", gate=gate).state is QualityState.AT_LEAST_HOSTED
