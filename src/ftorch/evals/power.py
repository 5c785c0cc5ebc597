"""How many held-out rows a gate needs, before anybody trains.

Approximations by the normal distribution, one-sided: simulated gates have 0.76 to 0.83 where 0.80 is asked for.
"""

from __future__ import annotations

import math

from ftorch.evals.intervals import critical_z

_ROUNDING = 1e-9


def rows_needed(margin: float, discordance: float, *, confidence: float = 0.95, power: float = 0.80) -> int:
    """Rows that show, with this power, that a model as good as the reference is not worse by `margin`.

    `discordance` is the share of rows that only one of the two gets right. The same rows show a model that is better
    by `margin` to be better.
    """
    _check_discordance(discordance)
    return rows_for_distance(margin, discordance, confidence=confidence, power=power)


def smallest_difference(rows: int, discordance: float, *, confidence: float = 0.95, power: float = 0.80) -> float:
    """The margin for which `rows` are enough: `rows_needed` the other way round.

    A difference cannot be larger than the discordance: more than that means that the rows show nothing at all.
    """
    _check_discordance(discordance)
    if rows < 1:
        raise ValueError(f"{rows} rows show nothing")
    return _z_sum(confidence, power) * math.sqrt(discordance / rows)


def rows_for_distance(distance: float, variance: float, *, confidence: float = 0.95, power: float = 0.80) -> int:
    """Rows until a bound of a mean, whose rows have this variance, lies within `distance` with this power."""
    if distance <= 0 or variance <= 0:
        raise ValueError(f"distance and variance must be above 0, not {distance} and {variance}")
    return _rounded_up(_z_sum(confidence, power) ** 2 * variance / distance**2)


def rows_for_floor(floor: float, expected: float, *, confidence: float = 0.95, power: float = 0.80) -> int:
    """Rows until the exact lower bound passes `floor`, with this power, when the true rate is `expected`.

    By the normal distribution, with the correction for counts of Fleiss, Levin and Paik (2003, section 2.6).
    """
    if not 0 < floor < expected <= 1:
        raise ValueError(f"no number of rows shows that a rate of {expected} is above {floor}")
    # With every row right the bound is alpha**(1/rows): fewer rows pass no model at all.
    fewest = math.log(1 - confidence) / math.log(floor)
    if expected == 1:
        return _rounded_up(fewest)
    distance = expected - floor
    spread = critical_z(confidence) * math.sqrt(floor * (1 - floor))
    spread += critical_z(power) * math.sqrt(expected * (1 - expected))
    rows = (spread / distance) ** 2
    return _rounded_up(max(fewest, rows / 4 * (1 + math.sqrt(1 + 2 / (rows * distance))) ** 2))


def _z_sum(confidence: float, power: float) -> float:
    return critical_z(confidence) + critical_z(power)


def _check_discordance(discordance: float) -> None:
    if not 0 < discordance <= 1:
        raise ValueError(f"a discordance is a share above 0, at most 1, not {discordance}")


def _rounded_up(rows: float) -> int:
    return max(1, math.ceil(rows - _ROUNDING))
