"""Whatever the order in which charges, lines, corrections and the end of the bill arrive: it ends the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.costs import ledger
from ftorch.costs.items import SpendSource
from ftorch.jobs.billing.lines import note_through, post_lines
from ftorch.jobs.billing.place import Bill
from ftorch.jobs.context import Context
from ftorch.store import RunRow
from unit.jobs.billing.quarter import (
    ACCOUNT,
    INSTALLATION,
    SETTLED,
    START,
    Quarter,
    draw,
    move_to,
    office,
    plant_unknown_run,
    spent_by_run,
    standing,
)

Step = Callable[[Context], object]


def steps(quarter: Quarter) -> list[Step]:
    """Everything that ever reaches the ledger, one step each."""
    lines = [
        _line(provider, reading.item)
        for provider, some in quarter.lines.items()
        for readings in some.values()
        for reading in readings
    ]
    charges = [_charge(row, quarter) for row in quarter.runs]
    ends = [_through(provider, days) for provider in ("alpha", "beta") for days in (20, 60, 200)]
    return [*lines, *charges, *ends]


def _line(provider: str, item: object) -> Step:
    return lambda context: post_lines(context, Bill(provider, ACCOUNT, INSTALLATION), iter([item]))  # type: ignore[list-item]  # a line of the quarter


def _charge(row: RunRow, quarter: Quarter) -> Step:
    return lambda context: context.store.write(
        lambda tx: ledger.post_charges(tx, row, quarter.charges[row.key], now=context.clock.now())
    )


def _through(provider: str, days: int) -> Step:
    bill = Bill(provider, ACCOUNT, INSTALLATION)
    return lambda context: note_through(context, bill, SpendSource.BILLING_API, START + timedelta(days=days))


def ends_as(folder: Path, quarter: Quarter, order: Sequence[Step]) -> tuple[object, object]:
    with office(folder, quarter) as context:
        move_to(context, SETTLED)
        for step in order:
            step(context)
        return standing(context.store), spent_by_run(context.store)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(seed=st.integers(0, 10**6), shuffle=st.integers(0, 10**6))
def test_any_order_ends_in_the_truth(tmp_path_factory: pytest.TempPathFactory, seed: int, shuffle: int) -> None:
    quarter = draw(seed, jobs=6)
    plant_unknown_run(quarter)
    as_it_came, shuffled = steps(quarter), steps(quarter)
    Random(shuffle).shuffle(shuffled)
    twice = [*shuffled, *shuffled[: len(shuffled) // 2]]

    plain = ends_as(tmp_path_factory.mktemp("plain"), quarter, as_it_came)

    assert ends_as(tmp_path_factory.mktemp("shuffled"), quarter, twice) == plain
    assert plain[1] == dict(quarter.truth)
