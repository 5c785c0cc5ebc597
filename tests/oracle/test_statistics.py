"""The statistics against statsmodels and scipy, and the gate's errors: counted where they can be, else simulated.

Run with `-s` to see the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ftorch.evals.gate import Verdict, judge
from ftorch.evals.intervals import (
    UNBOUNDED,
    Sides,
    binomial_cdf,
    exact_rate,
    mean_interval,
    quantile_interval,
    t_quantile,
    wilson,
)
from ftorch.evals.paired import holm, mcnemar, tango
from ftorch.evals.power import rows_for_floor, rows_needed
from ftorch.manifest.evaluation import Gate

GATES = 4000
COUNTED_GATES = 40_000
"""Gates on binary scores: equal counts are judged once, so ten times as many leave nothing to the seed."""
SEED = 20261123
Z = 1.6448536269514722


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_is_statsmodels_wilson(confidence: float) -> None:
    for rows in (1, 2, 7, 30, 199, 2000, 100_000):
        for successes in {0, 1, rows // 3, rows // 2, rows - 1, rows}:
            for sides, alpha in ((2, 1 - confidence), (1, 2 * (1 - confidence))):
                found = wilson(successes, rows, confidence=confidence, sides=_sides(sides))

                theirs = proportion_confint(successes, rows, alpha=alpha, method="wilson")
                assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)


def test_mcnemar_is_statsmodels_exact_mcnemar() -> None:
    for better in range(0, 61, 3):
        for worse in range(0, 200, 7):
            theirs = their_mcnemar([[50, better], [worse, 50]], exact=True).pvalue

            assert mcnemar(better, worse) == pytest.approx(float(theirs), rel=1e-12, abs=1e-12)


def test_holm_is_statsmodels_holm() -> None:
    chance = np.random.default_rng(SEED)
    for count in range(1, 30):
        p_values = chance.beta(0.3, 2, size=count).tolist()

        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


def test_the_t_quantile_is_scipys() -> None:
    for degrees in (1, 2, 3, 4, 7, 29, 100, 999, 10_000, 100_000):
        for probability in (0.001, 0.3, 0.5001, 0.51, 0.6, 0.8, 0.95, 0.975, 0.999, 0.99999):
            theirs = float(stats.t.ppf(probability, degrees))

            assert t_quantile(probability, degrees) == pytest.approx(theirs, rel=1e-10, abs=1e-10)


def test_the_binomial_distribution_is_scipys() -> None:
    for rows in (1, 10, 59, 1000, 50_000):
        for rate in (0.001, 0.05, 0.5, 0.95):
            for count in {0, 1, int(rows * rate), min(rows, int(rows * rate) + 3), rows - 1}:
                theirs = float(stats.binom.cdf(count, rows, rate))

                assert binomial_cdf(count, rows, rate) == pytest.approx(theirs, abs=1e-10)


def test_the_clustered_interval_is_that_of_an_intercept_with_clustered_covariance() -> None:
    chance = np.random.default_rng(SEED)
    for clusters in (2, 5, 12, 40):
        groups = chance.integers(0, clusters, size=120)
        values = chance.normal(3, 1, size=120) + groups / clusters
        fitted = OLS(values, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)

        found = mean_interval(values.tolist(), clusters=groups.tolist(), bounds=UNBOUNDED)

        assert (found.low, found.high) == pytest.approx(fitted.conf_int(0.05)[0].tolist(), rel=1e-10)


def test_the_interval_of_a_quantile_is_scipys() -> None:
    chance = np.random.default_rng(SEED)
    for rows in (5, 20, 58, 59, 200, 1000):
        for q in (0.05, 0.5, 0.95):
            values = chance.exponential(300, size=rows)
            theirs = stats.quantile_test(values, p=q).confidence_interval(0.95)
            low, high = (math.copysign(math.inf, side) if math.isnan(end) else end for side, end in _ends(theirs))

            found = quantile_interval(values.tolist(), q)

            assert (found.low, found.high) == (low, high)


def test_tango_is_the_root_of_the_score_equation() -> None:
    """Theirs: the nuisance share by maximising the likelihood, the limit by brentq. Ours: a quadratic and bisection."""
    chance = np.random.default_rng(SEED)
    tables = [(0, 0, 30), (5, 0, 40), (0, 5, 40), (1, 7, 21), (30, 10, 40), (40, 0, 40), (0, 40, 40), (300, 280, 9000)]
    for _ in range(60):
        rows = int(chance.integers(2, 400))
        better = int(chance.integers(0, rows + 1))
        tables.append((better, int(chance.integers(0, rows - better + 1)), rows))

    for better, worse, rows in tables:
        for confidence in (0.8, 0.95, 0.99):
            found = tango(better, worse, rows, confidence=confidence, sides=1)

            z = float(stats.norm.ppf(confidence))
            assert found.low == pytest.approx(_score_limit(better, worse, rows, z), abs=1e-9)
            assert found.high == pytest.approx(-_score_limit(worse, better, rows, z), abs=1e-9)


def _score_limit(better: int, worse: int, rows: int, z: float) -> float:
    estimate = (better - worse) / rows

    def excess(difference: float) -> float:
        share = _likeliest_share(better, worse, rows, difference)
        variance = rows * (2 * share + difference * (1 - difference))
        return float(better - worse - rows * difference - z * math.sqrt(max(variance, 0.0)))

    if estimate <= -1:
        return -1.0
    # At the estimate itself the statistic is 0, and without discordance so is its error: start just below.
    return float(optimize.brentq(excess, -1.0, estimate - 1e-11, xtol=1e-14, rtol=1e-14))


def _likeliest_share(better: int, worse: int, rows: int, difference: float) -> float:
    """The share of worse rows that makes the counts likeliest, given the difference of the shares."""
    low, high = max(0.0, -difference), (1 - difference) / 2

    def slope(share: float) -> float:
        parts = (share + difference, share, 1 - 2 * share - difference)
        counts = (better, worse, -2 * (rows - better - worse))
        return sum(
            count / part if part > 0 else math.copysign(math.inf, count)
            for count, part in zip(counts, parts, strict=True)
            if count
        )

    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return middle


# --- what the gate gets wrong -----------------------------------------------------------------------------------------

CELLS = [(100, 0.08), (200, 0.08), (344, 0.05), (500, 0.15)]


@pytest.mark.parametrize(("rows", "discordance"), CELLS)
def test_a_model_worse_by_exactly_the_margin_seldom_passes(rows: int, discordance: float) -> None:
    passed = _share_of_passes(rows, discordance, difference=-0.03, margin=0.03)

    print(f"not worse by .03, truly .03 worse: {rows} rows, discordance {discordance}: {passed:.4f} pass")
    assert passed <= 0.055


@pytest.mark.parametrize(("rows", "discordance"), CELLS)
def test_a_model_that_is_only_as_good_seldom_beats_the_other(rows: int, discordance: float) -> None:
    passed = _share_of_passes(rows, discordance, difference=0.0, margin=None)

    print(f"better, truly equal: {rows} rows, discordance {discordance}: {passed:.4f} pass")
    assert passed <= 0.055


@pytest.mark.parametrize("discordance", [0.05, 0.08, 0.15])
def test_the_rows_needed_have_the_power_that_they_promise(discordance: float) -> None:
    rows = rows_needed(0.03, discordance)

    as_good = _share_of_passes(rows, discordance, difference=0.0, margin=0.03)
    better = _share_of_passes(rows, discordance, difference=0.03, margin=None)

    print(f"power on {rows} rows, discordance {discordance}: not worse {as_good:.3f}, better by .03 {better:.3f}")
    assert as_good >= 0.75
    assert better >= 0.75


def test_the_rows_for_a_floor_have_the_power_that_they_promise() -> None:
    for floor, expected in ((0.8, 0.85), (0.9, 0.95), (0.5, 0.6), (0.99, 0.999)):
        rows = rows_for_floor(floor, expected)
        least = next(count for count in range(rows + 1) if exact_rate(count, rows, sides=1).low >= floor)
        power, wrong = (float(stats.binom.sf(least - 1, rows, rate)) for rate in (expected, floor))

        print(f"floor {floor}, truly {expected}: {rows} rows, power {power:.3f}, passes at the floor {wrong:.4f}")
        assert 0.79 <= power <= 0.93
        assert wrong <= 0.05


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_exact_rate_is_statsmodels_and_never_wrong_too_often(confidence: float) -> None:
    for rows in (1, 5, 30, 133, 200):
        for successes in range(rows + 1):
            found = exact_rate(successes, rows, confidence=confidence)

            theirs = proportion_confint(successes, rows, alpha=1 - confidence, method="beta")
            assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)


def test_a_floor_lets_a_model_on_it_pass_in_at_most_5_percent_of_cases_counted_exactly() -> None:
    worst = 0.0
    for floor in (0.5, 0.8, 0.9, 0.95, 0.99):
        for rows in range(100, 501, 7):
            least = next(count for count in range(rows + 2) if count > rows or _passes(count, rows, floor))
            worst = max(worst, float(stats.binom.sf(least - 1, rows, floor)))

    print(f"floors: {worst:.4f} pass at the floor")
    assert 0.04 <= worst <= 0.05


def _passes(right: int, rows: int, floor: float) -> bool:
    return right >= floor * rows and exact_rate(right, rows, sides=1).low >= floor


def test_the_errors_of_both_bounds_counted_exactly_stay_where_they_are_said_to() -> None:
    """Every possible outcome, weighted by its probability: no simulation."""
    worst = {margin: _worst_error(margin) for margin in (0.0, 0.02, 0.03, 0.05)}

    print({margin: f"{error:.4f} at {rows} rows, {psi}" for margin, (error, rows, psi) in worst.items()})
    assert all(error <= 0.057 for error, _, _ in worst.values())


def test_the_error_of_wilsons_bound_counted_exactly_stays_below_7_percent() -> None:
    worst = {}
    for floor in (0.5, 0.8, 0.9, 0.95, 0.99):
        errors = []
        for rows in range(100, 1001):
            least = math.floor(rows * floor)
            while least <= rows and wilson(least, rows, sides=1).low < floor:
                least += 1
            errors.append((float(stats.binom.sf(least - 1, rows, floor)), rows))
        worst[floor] = max(errors)

    print({floor: f"{error:.4f} at {rows} rows" for floor, (error, rows) in worst.items()})
    assert max(worst.values())[0] <= 0.07


def test_scores_between_0_and_1_in_clusters_keep_the_error_and_would_not_without_them() -> None:
    """60 clusters of 4 rows, the tuned model truly 0.03 worse, its scores alike within a cluster."""
    chance = np.random.default_rng(SEED)
    clusters = [row // 4 for row in range(240)]
    gate = Gate(primary="json_fields", beats="hosted", no_worse_by=0.03)
    passed = ignored = 0
    for _ in range(GATES):
        hosted = chance.uniform(0.2, 0.8, size=240)
        effect = np.repeat(chance.uniform(-0.1, 0.1, size=60), 4)
        tuned = hosted - 0.03 + effect + chance.uniform(-0.05, 0.05, size=240)
        scores, others = {"json_fields": tuned.tolist()}, {"hosted": {"json_fields": hosted.tolist()}}
        passed += judge(gate, scores, others, clusters=clusters).verdict is Verdict.PASS
        ignored += judge(gate, scores, others).verdict is Verdict.PASS

    print(f"t interval on the margin: {passed / GATES:.4f} pass with clusters, {ignored / GATES:.4f} without")
    assert passed / GATES <= 0.06
    assert ignored / GATES >= 0.10


def test_skewed_scores_keep_the_error_where_a_plain_t_interval_would_not() -> None:
    """200 rows, 19 of 20 of them fully right, the others half: truly 0.975, and that is the floor."""
    chance = np.random.default_rng(SEED)
    gate = Gate(primary="json_fields", at_least=0.975)
    passed = plain = 0
    for _ in range(GATES):
        scores = np.where(chance.random(200) < 0.95, 1.0, 0.5).tolist()
        passed += judge(gate, {"json_fields": scores}, {}).verdict is Verdict.PASS
        plain += mean_interval(scores, bounds=UNBOUNDED, sides=1).low >= 0.975

    print(f"floor of skewed scores: {passed / GATES:.4f} pass, {plain / GATES:.4f} with a plain t interval")
    assert passed / GATES <= 0.06
    assert plain / GATES >= 0.08


def _share_of_passes(rows: int, discordance: float, *, difference: float, margin: float | None) -> float:
    gate = Gate(beats="hosted", no_worse_by=margin)

    @cache
    def passes(better: int, worse: int) -> bool:
        rest = [1.0] * (rows - better - worse)
        tuned, hosted = [1.0] * better + [0.0] * worse + rest, [0.0] * better + [1.0] * worse + rest
        report = judge(gate, {"exact_match": tuned}, {"hosted": {"exact_match": hosted}})
        return report.verdict is Verdict.PASS

    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    drawn = np.random.default_rng(SEED).multinomial(rows, [better, worse, 1 - discordance], size=COUNTED_GATES)
    return sum(passes(int(one), int(other)) for one, other, _ in drawn) / COUNTED_GATES


def _worst_error(margin: float) -> tuple[float, int, float]:
    """The largest probability to pass on the boundary, over sizes and discordances that held-out sets have."""
    cells = [(rows, psi) for rows in (100, 200, 344) for psi in (0.05, 0.08, 0.15) if psi > margin]
    return max((_error(rows, psi, margin), rows, psi) for rows, psi in cells)


def _error(rows: int, discordance: float, margin: float) -> float:
    better, worse = (discordance - margin) / 2, (discordance + margin) / 2
    most = int(rows * discordance + 7 * math.sqrt(rows * discordance)) + 5
    counts = [(one, other) for one in range(most) for other in range(most) if one + other <= rows]
    table = np.array([(one, other, rows - one - other) for one, other in counts])
    weights = stats.multinomial.pmf(table, rows, [better, worse, 1 - discordance])
    likely = [of for of, weight in zip(counts, weights, strict=True) if weight > 1e-9]
    weight_of = dict(zip(counts, weights.tolist(), strict=True))
    return float(sum(weight_of[of] for of in likely if tango(*of, rows, sides=1).low > -margin))


def _sides(sides: int) -> Sides:
    return 1 if sides == 1 else 2


def _ends(interval: Sequence[float]) -> tuple[tuple[int, float], tuple[int, float]]:
    low, high = interval
    return (-1, float(low)), (1, float(high))
