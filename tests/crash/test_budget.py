"""A budget at a provider whose clock runs fast, with the daemon killed: what is spent there never passes the limit.

The deadline travels with the order, and the provider keeps it by its own clock, which is also the one that it bills by.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crash.world import Fate, Kind, World
from ftorch.core.money import Money
from unit.jobs.cloud import RATE

LIMIT = Money(Decimal("1.00"))
QUANTUM = Money(RATE / 3600)
AWAY_S = 10 * 3600.0


def world(folder: Path, *deaths: int, preempt: bool = False, away_s: float = 0.0) -> World:
    made = World(folder, Kind.LIST, Fate(deaths), preempt=preempt, limit=LIMIT, speed=9.0, away_s=away_s)
    made.cloud.training = timedelta(hours=5)
    made.cloud.enforces_deadlines = True
    made.live()
    return made


@pytest.mark.parametrize("preempt", [False, True], ids=["one run", "taken away in the middle"])
@pytest.mark.parametrize("away_s", [0.0, AWAY_S], ids=["back at once", "away for ten hours"])
def test_what_is_spent_never_passes_the_budget_by_more_than_a_quantum(
    tmp_path: Path, preempt: bool, away_s: float
) -> None:
    undisturbed = world(tmp_path / "undisturbed", preempt=preempt)
    assert undisturbed.spent() > Money(LIMIT.amount / 2)

    for number in range(1, len(undisturbed.fate.passed) + 1):
        lived = world(tmp_path / str(number), number, preempt=preempt, away_s=away_s)

        assert lived.spent() <= LIMIT + QUANTUM, (number, lived.fate.met)
        assert lived.booked() == lived.spent(), (number, lived.fate.met)


def test_the_same_is_seen_to_cost_more_where_nobody_keeps_the_deadline(tmp_path: Path) -> None:
    made = World(tmp_path, Kind.LIST, Fate(), limit=LIMIT, speed=9.0)
    made.cloud.training = timedelta(hours=5)

    made.live()

    assert made.spent() > LIMIT + QUANTUM
