"""The gate: what passes, what fails, what nobody can tell yet, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.errors import UsageError
from ftorch.evals.gate import Check, GateReport, Verdict, judge
from ftorch.evals.intervals import exact_rate
from ftorch.evals.paired import paired_difference
from ftorch.evals.power import rows_for_floor
from ftorch.manifest.evaluation import Gate

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def right(successes: int, rows: int) -> list[float]:
    return [1.0] * successes + [0.0] * (rows - successes)


def pair(better: int, worse: int, rows: int) -> tuple[list[float], list[float]]:
    """Scores of two models: rows that only the first gets right, then only the second, the rest both."""
    rest = [1.0] * (rows - better - worse)
    return [1.0] * better + [0.0] * worse + rest, [0.0] * better + [1.0] * worse + rest


def against_hosted(better: int, worse: int, rows: int, **asked: Any) -> Check:
    tuned, hosted = pair(better, worse, rows)
    gate = Gate(beats="hosted", **asked)
    [check] = judge(gate, {"exact_match": tuned}, {"hosted": {"exact_match": hosted}}).checks
    return check


def guarded(metric: str, scores: Mapping[str, Sequence[float]], **asked: float) -> GateReport:
    return judge(Gate.model_validate({"guardrails": [{"metric": metric, **asked}]}), scores, {})


@pytest.mark.parametrize(
    ("successes", "rows", "verdict"),
    [
        (170, 200, PASS),
        (165, 200, INCONCLUSIVE),
        (160, 200, INCONCLUSIVE),
        (151, 200, INCONCLUSIVE),
        (150, 200, FAIL),
        (140, 200, FAIL),
    ],
)
def test_a_floor_is_held_by_the_lower_bound_and_broken_by_the_upper_one(
    successes: int, rows: int, verdict: Verdict
) -> None:
    report = judge(Gate(at_least=0.8), {"exact_match": right(successes, rows)}, {})

    assert report.verdict is verdict
    assert report.checks[0].estimate == successes / rows
    assert report.checks[0].interval == exact_rate(successes, rows, sides=1)


def test_a_point_estimate_far_above_the_floor_does_not_pass_on_few_rows() -> None:
    report = judge(Gate(at_least=0.8), {"exact_match": right(10, 10)}, {})

    assert report.verdict is INCONCLUSIVE
    assert report.warnings == ["the gate rests on 10 rows; below 30 its bounds are rough"]


def test_three_equal_scores_do_not_pass() -> None:
    report = judge(Gate(primary="json_fields", at_least=0.4), {"json_fields": [0.9, 0.9, 0.9]}, {})

    assert report.verdict is INCONCLUSIVE


def test_a_bound_exactly_on_the_floor_keeps_it() -> None:
    floor = exact_rate(170, 200, sides=1).low

    report = judge(Gate(at_least=floor), {"exact_match": right(170, 200)}, {})

    assert report.verdict is PASS


@pytest.mark.parametrize(
    ("better", "worse", "rows", "verdict"),
    [(30, 10, 200, PASS), (12, 8, 200, INCONCLUSIVE), (0, 0, 200, INCONCLUSIVE), (10, 30, 200, FAIL)],
)
def test_to_beat_a_model_is_to_be_better_beyond_chance(better: int, worse: int, rows: int, verdict: Verdict) -> None:
    check = against_hosted(better, worse, rows)

    assert check.verdict is verdict
    assert check.requirement == "better than hosted"
    assert check.reference == "hosted"
    assert check.estimate == pytest.approx((better - worse) / rows)


@pytest.mark.parametrize(
    ("better", "worse", "rows", "verdict"),
    [
        (17, 17, 700, PASS),
        (5, 5, 200, PASS),
        (6, 6, 200, INCONCLUSIVE),
        (0, 0, 30, INCONCLUSIVE),
        (0, 0, 90, PASS),
        (20, 2, 200, PASS),
        (2, 30, 300, FAIL),
        (0, 1, 20, INCONCLUSIVE),
    ],
)
def test_not_worse_by_a_margin_need_not_be_better(better: int, worse: int, rows: int, verdict: Verdict) -> None:
    check = against_hosted(better, worse, rows, no_worse_by=0.03)

    assert check.verdict is verdict
    assert check.requirement == "at most 0.03 below hosted"


def test_a_bound_exactly_on_the_margin_is_inconclusive() -> None:
    margin = -paired_difference(*pair(5, 8, 200), sides=1).low

    assert against_hosted(5, 8, 200, no_worse_by=margin).verdict is INCONCLUSIVE
    assert against_hosted(5, 8, 200, no_worse_by=margin + 1e-6).verdict is PASS


def test_a_worse_model_fails_at_the_same_bound_that_another_passes() -> None:
    margin = -paired_difference(*pair(2, 20, 200), sides=1).high

    assert against_hosted(2, 20, 200, no_worse_by=margin).verdict is INCONCLUSIVE
    assert against_hosted(2, 20, 200, no_worse_by=margin - 1e-6).verdict is FAIL


def test_the_gates_confidence_is_that_of_its_bounds() -> None:
    strict = against_hosted(20, 9, 200, confidence=0.999)

    assert strict.interval.confidence == 0.999
    assert strict.verdict is INCONCLUSIVE
    assert against_hosted(20, 9, 200).verdict is PASS


def test_a_floor_and_a_model_to_beat_are_two_checks_that_must_both_pass() -> None:
    tuned, base = pair(30, 10, 200)

    report = judge(Gate(at_least=0.95, beats="base"), {"exact_match": tuned}, {"base": {"exact_match": base}})

    assert [check.requirement for check in report.checks] == ["at least 0.95", "better than base"]
    assert [check.verdict for check in report.checks] == [INCONCLUSIVE, PASS]
    assert report.verdict is INCONCLUSIVE


def test_one_check_that_fails_makes_the_gate_fail() -> None:
    gate = Gate.model_validate(
        {
            "at_least": 0.9,
            "guardrails": [{"metric": "json_valid", "at_least": 0.99}, {"metric": "json_fields", "at_least": 0.5}],
        }
    )
    scores = {"exact_match": right(185, 200), "json_valid": right(150, 200), "json_fields": [0.8, 0.9] * 100}

    report = judge(gate, scores, {})

    assert [check.verdict for check in report.checks] == [INCONCLUSIVE, FAIL, PASS]
    assert report.verdict is FAIL


def test_a_guardrail_with_two_ends_is_two_checks() -> None:
    report = guarded("exact_match", {"exact_match": right(100, 200)}, at_least=0.4, at_most=0.6)

    assert [str(check.requirement) for check in report.checks] == ["at least 0.40", "at most 0.60"]
    assert report.verdict is PASS


@pytest.mark.parametrize(("successes", "verdict"), [(2, PASS), (10, INCONCLUSIVE), (40, FAIL)])
def test_a_ceiling_is_held_by_the_upper_bound(successes: int, verdict: Verdict) -> None:
    assert guarded("regex:no", {"regex:no": right(successes, 200)}, at_most=0.05).verdict is verdict


@pytest.mark.parametrize(
    ("metric", "ceiling", "verdict"),
    [
        ("p50_latency_ms", 330, PASS),
        ("p50_latency_ms", 300, INCONCLUSIVE),
        ("p50_latency_ms", 250, FAIL),
        ("p95_latency_ms", 400, PASS),
        ("p95_latency_ms", 385, INCONCLUSIVE),
        ("p95_latency_ms", 350, FAIL),
        ("latency_ms", 310, PASS),
        ("latency_ms", 300, INCONCLUSIVE),
        ("latency_ms", 290, FAIL),
    ],
)
def test_latencies_are_bounded_by_mean_and_quantile(metric: str, ceiling: float, verdict: Verdict) -> None:
    latencies = [200.0 + row for row in range(200)]

    assert guarded(metric, {"latency_ms": latencies}, at_most=ceiling).verdict is verdict


def test_a_slow_end_is_not_shown_to_be_fast_by_few_rows() -> None:
    report = guarded("p95_latency_ms", {"latency_ms": [100.0] * 58}, at_most=800)

    assert report.verdict is INCONCLUSIVE
    assert report.checks[0].rows_needed == 59
    assert guarded("p95_latency_ms", {"latency_ms": [100.0] * 59}, at_most=800).verdict is PASS


def test_the_quantile_shown_lies_between_its_neighbours_in_proportion() -> None:
    report = guarded("p50_latency_ms", {"latency_ms": [400.0, 100.0, 300.0, 200.0]}, at_most=800)

    assert report.checks[0].estimate == 250.0


def test_a_gate_of_guardrails_alone_does_not_ask_for_the_primary_metric() -> None:
    assert guarded("json_valid", {"json_valid": right(400, 400)}, at_least=0.99).verdict is PASS


def test_rows_of_one_cluster_count_as_one() -> None:
    tuned, hosted = pair(30, 10, 200)
    clusters = [row // 20 for row in range(200)]

    report = judge(Gate(beats="hosted"), {"exact_match": tuned}, {"hosted": {"exact_match": hosted}}, clusters=clusters)

    assert against_hosted(30, 10, 200).verdict is PASS
    assert report.verdict is INCONCLUSIVE
    assert report.warnings == ["the gate rests on 10 clusters of rows; below 30 its bounds are rough"]


def test_a_rate_of_rows_in_clusters_gets_a_wider_interval() -> None:
    scores = {"exact_match": [1.0] * 180 + [0.0] * 20}

    alone = judge(Gate(at_least=0.85), scores, {})
    clustered = judge(Gate(at_least=0.85), scores, {}, clusters=[row // 10 for row in range(200)])

    assert alone.verdict is PASS
    assert clustered.verdict is INCONCLUSIVE


def test_a_quantile_in_clusters_is_warned_about() -> None:
    gate = Gate.model_validate({"guardrails": [{"metric": "p95_latency_ms", "at_most": 900}]})

    report = judge(gate, {"latency_ms": [100.0] * 80}, {}, clusters=[row // 2 for row in range(80)])

    assert report.warnings == ["p95_latency_ms: rows of one cluster are counted as independent"]


def test_rows_needed_are_told_only_where_nothing_is_decided() -> None:
    passed, failed = against_hosted(30, 10, 200), against_hosted(10, 30, 200)

    assert passed.rows_needed is None
    assert failed.rows_needed is None


def test_a_rate_between_its_bounds_is_told_how_many_rows_would_do() -> None:
    above, below = (judge(Gate(at_least=0.8), {"exact_match": right(n, 20)}, {}).checks[0] for n in (17, 15))

    assert above.rows_needed == rows_for_floor(0.8, 0.85)
    assert below.rows_needed == rows_for_floor(1 - 0.8, 1 - 0.75)


def test_rows_needed_of_a_difference_are_those_of_its_discordance() -> None:
    check = against_hosted(10, 10, 250, no_worse_by=0.03)

    assert check.rows_needed == pytest.approx(550, rel=0.01)


def test_no_discordance_on_few_rows_asks_for_as_many_as_the_margin_takes() -> None:
    check = against_hosted(0, 0, 30, no_worse_by=0.03)

    assert check.rows_needed == 99
    assert against_hosted(0, 0, check.rows_needed, no_worse_by=0.03).verdict is PASS


def test_no_number_of_rows_tells_a_model_from_its_equal() -> None:
    assert against_hosted(7, 7, 200).rows_needed is None
    assert judge(Gate(at_least=0.8), {"exact_match": right(160, 200)}, {}).checks[0].rows_needed is None
    assert judge(Gate(at_least=1.0), {"exact_match": right(200, 200)}, {}).checks[0].rows_needed is None


def test_a_check_reads_as_a_sentence() -> None:
    floor = judge(Gate(at_least=0.8), {"exact_match": right(17, 20)}, {}).checks[0]

    assert str(floor) == (
        "exact_match at least 0.80: 0.850, bounds 0.656 and 0.958, 20 rows: inconclusive; about 388 rows would tell"
    )
    assert str(against_hosted(30, 10, 200)) == (
        "exact_match better than hosted: +0.100, bounds +0.050 and +0.153, 200 rows: pass"
    )
    assert "bounds 100.0 and none" in str(guarded("p95_latency_ms", {"latency_ms": [100.0] * 9}, at_most=800).checks[0])


@pytest.mark.parametrize(("floor", "words"), [(0.995, "at least 0.995"), (0.1, "at least 0.10"), (1, "at least 1")])
def test_what_is_asked_is_not_rounded(floor: float, words: str) -> None:
    assert judge(Gate(at_least=floor), {"exact_match": right(9, 20)}, {}).checks[0].requirement == words


def test_a_gate_that_asks_for_nothing_is_refused() -> None:
    gate = Gate.model_construct(primary="exact_match", confidence=0.95, guardrails=())

    with pytest.raises(UsageError, match="asks for nothing") as refused:
        judge(gate, {"exact_match": right(9, 10)}, {})

    assert "ftorch eval" in (refused.value.hint or "")


def test_a_figure_without_a_score_per_row_gates_nothing() -> None:
    metric = "macro_f1"
    gate = Gate.model_construct(primary=metric, at_least=0.8, beats=None, confidence=0.95, guardrails=())

    with pytest.raises(UsageError, match=f"eval.gate.primary names {metric}, .* label_accuracy has both"):
        judge(gate, {metric: right(9, 10)}, {})


@pytest.mark.parametrize(
    ("gate", "words", "hint"),
    [
        (Gate(primary="json_valid", at_least=0.9), "no scores of json_valid", "eval.gate.primary"),
        (
            Gate.model_validate({"guardrails": [{"metric": "p95_latency_ms", "at_most": 800}]}),
            "no scores of latency_ms, which eval.gate.guardrails asks for",
            "eval.gate.guardrails",
        ),
        (Gate(beats="hosted"), "hosted was not evaluated", "eval.compare_to"),
        (Gate(beats="base"), "base has no scores of exact_match", "eval.compare_to"),
    ],
)
def test_scores_that_are_not_there_are_asked_for(gate: Gate, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        judge(gate, {"exact_match": right(9, 10)}, {"base": {"json_valid": right(9, 10)}})

    assert hint in (refused.value.hint or "")
    assert "`ftorch eval`" in (refused.value.hint or "")


def test_no_rows_at_all_are_no_scores() -> None:
    with pytest.raises(UsageError, match="no scores of exact_match"):
        judge(Gate(at_least=0.5), {"exact_match": []}, {})


def test_scores_of_other_rows_are_refused() -> None:
    guard = Gate.model_validate({"at_least": 0.5, "guardrails": [{"metric": "json_valid", "at_least": 0.5}]})

    with pytest.raises(ValueError, match="10 scores of the tuned model, but 9 of the reference"):
        judge(Gate(beats="base"), {"exact_match": right(9, 10)}, {"base": {"exact_match": right(9, 9)}})
    with pytest.raises(ValueError, match="not of the same rows: 10 of exact_match, 9 of json_valid"):
        judge(guard, {"exact_match": right(9, 10), "json_valid": right(9, 9)}, {})
    with pytest.raises(ValueError, match="clusters"):
        judge(Gate(at_least=0.5), {"exact_match": right(9, 10)}, {}, clusters="abc")


SCORES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2), min_size=1, max_size=60)


@given(SCORES, st.floats(0.01, 0.99), st.floats(0.01, 0.5))
def test_nothing_passes_that_its_own_estimate_would_not_or_fails_that_it_would(
    rows: list[tuple[float, float]], floor: float, margin: float
) -> None:
    tuned, base = [one for one, _ in rows], [other for _, other in rows]

    report = judge(
        Gate(at_least=floor, beats="base", no_worse_by=margin),
        {"exact_match": tuned},
        {"base": {"exact_match": base}},
    )

    for check, limit in zip(report.checks, (floor, -margin), strict=True):
        assert check.verdict is not PASS or check.estimate > limit
        assert check.verdict is not FAIL or check.estimate < limit
        assert check.rows_needed is None or check.rows_needed > check.rows
        assert check.interval.low < check.interval.high


@given(SCORES, st.floats(0.01, 0.99))
def test_a_further_guardrail_never_helps(rows: list[tuple[float, float]], floor: float) -> None:
    scores = {"exact_match": [one for one, _ in rows], "json_valid": [other for _, other in rows]}
    order = [FAIL, INCONCLUSIVE, PASS]
    guard = {"metric": "json_valid", "at_least": floor}

    alone = judge(Gate(at_least=0.5), scores, {})
    guarded_too = judge(Gate.model_validate({"at_least": 0.5, "guardrails": [guard]}), scores, {})

    assert order.index(guarded_too.verdict) <= order.index(alone.verdict)
