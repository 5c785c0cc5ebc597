"""Estimates scored against providers whose speed, price and discount nobody knows: drawn by a seed given at run time.

Each provider bills as one of its kind does: tokens with a minimum, started minutes with a boot, seconds with a boot.
Our estimate knows a list price, an assumed speed and an assumed boot. After 50 jobs the rest is judged.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.lines import Line
from ftorch.core.money import Money
from ftorch.costs.book.gpus import gpus
from ftorch.costs.estimate import Estimate, for_gpu, for_tokens, trained_tokens
from ftorch.costs.learned import Outcome, apply
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan, TokenSource
from unit.plans import facts, plan

LEARNED, JUDGED = 50, 150
_READ = date(2026, 11, 1)
_PARAMETERS = 8_200_000_000


@dataclass(frozen=True)
class Hidden:
    """What only the provider knows."""

    speed: float
    """Over the speed that our estimate assumes."""
    price: float
    """Over the list price."""
    discount: float
    boot_s: float
    noise: float
    """Standard deviation of ln time (or of ln tokens) from job to job."""

    @classmethod
    def draw(cls, chance: random.Random) -> Hidden:
        return cls(
            speed=math.exp(chance.uniform(math.log(0.4), math.log(2.5))),
            price=chance.uniform(0.8, 1.3),
            discount=chance.choice([0.0, 0.0, 0.1, 0.25, 0.4]),
            boot_s=chance.uniform(120, 900),
            noise=chance.uniform(0.01, 0.05),
        )

    @property
    def paid(self) -> float:
        return self.price * (1 - self.discount)

    def varied(self, chance: random.Random, value: float) -> float:
        return value * math.exp(chance.gauss(0, self.noise))


def draw_plan(chance: random.Random) -> Plan:
    """A job of 1 to 300 million trained tokens."""
    tokens = int(math.exp(chance.uniform(math.log(4e5), math.log(1e8))))
    rows = facts(train_tokens=tokens, train_rows=tokens // 300, token_source=TokenSource.TOKENIZER)
    return plan(parameters=_PARAMETERS, dataset=rows)


def by_tokens(chance: random.Random, hidden: Hidden, job: Plan) -> tuple[Estimate, float]:
    listed = TokenPrice(Decimal("0.48"), Money(Decimal(4)), "list", _READ)
    billed = hidden.varied(chance, trained_tokens(job)) / 1e6 * 0.48 * hidden.paid
    return for_tokens(job, listed), max(4.0, billed)


def by_time(quantum_s: float, rate: float) -> Callable[[random.Random, Hidden, Plan], tuple[Estimate, float]]:
    def of(chance: random.Random, hidden: Hidden, job: Plan) -> tuple[Estimate, float]:
        gpu = gpus()["H100"]
        computed = for_gpu(job, gpu, count=1, rate=Decimal(str(rate)), price="list", price_date=_READ)
        work = 4.4 * _PARAMETERS * trained_tokens(job) / (float(gpu.tflops) * 1e12 * 0.25 * hidden.speed)
        seconds = hidden.varied(chance, hidden.boot_s) + hidden.varied(chance, work)
        return computed, math.ceil(seconds / quantum_s) * quantum_s * rate / 3600 * hidden.paid

    return of


KINDS = {"tokens": by_tokens, "minutes": by_time(60, 4.29), "seconds": by_time(1, 3.95)}


@dataclass(frozen=True)
class Score:
    """How the judged jobs of one provider came out."""

    provider: str
    median_error: float
    coverage: float
    width: float
    """The median interval, high over low."""
    untaught_error: float


def score(provider: str, seed: int) -> Score:
    chance = random.Random(f"{seed}/{provider}")
    hidden = Hidden.draw(chance)
    seen = [KINDS[provider](chance, hidden, draw_plan(chance)) for _ in range(LEARNED + JUDGED)]
    outcomes = [Outcome(float(first.growing.amount), cost) for first, cost in seen[:LEARNED] if first.growing]
    errors, untaught, covered, widths = [], [], 0, []
    for first, cost in seen[LEARNED:]:
        taught = apply(first, list(reversed(outcomes)), ())
        likely, low, high = (float(one.amount) for one in (taught.amount, taught.amount_low, taught.amount_high) if one)
        assert first.amount is not None
        errors.append(abs(likely - cost) / cost)
        untaught.append(abs(float(first.amount.amount) - cost) / cost)
        covered += low <= cost <= high
        widths.append(high / low)
    return Score(
        provider,
        statistics.median(errors),
        covered / JUDGED,
        statistics.median(widths),
        statistics.median(untaught),
    )


def measure(seed: int) -> list[Line]:
    lines = []
    for provider in KINDS:
        found = score(provider, seed)
        note = f"seed {seed}, {LEARNED} jobs learned from, {JUDGED} judged; before: {found.untaught_error:.0%}"
        lines += [
            Line(f"estimate, billed by {provider}: median error", 100 * found.median_error, 5, " %", note),
            Line(
                f"estimate, billed by {provider}: outside the 90 % interval",
                100 * (1 - found.coverage),
                15,
                " %",
                f"median interval: factor {found.width:.2f}",
            ),
        ]
    return lines
