"""Measured time and a record that comes late: which of them counts, and when both do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ftorch.costs.items import LineItem, Scope, SpendSource
from ftorch.providers.base import Observation, RunState
from ftorch.providers.late_records import Subject, charge, charge_as_seen

START = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
END = START + timedelta(hours=2)
RUN = Subject("ft-abc123-1", "job/usage", "the rows of the job", "job/time", "time of the job")
FEE = replace(RUN, scope=Scope.PLATFORM_FEE)
SEEN = Observation(RunState.SUCCEEDED, "SUCCESS", END, billable_from=START, billable_to=END)
MEASURED, RECORD = SpendSource.MEASURED_TIME, SpendSource.RUN_RECORD


def charged(run: Subject, recorded: str | None, *, rate: str | None = "5", days: float = 0) -> Sequence[LineItem]:
    usd = Decimal(recorded) if recorded is not None else None
    price = Decimal(rate) if rate is not None else None
    return charge(run, SEEN, price, usd, now=END + timedelta(days=days), settle_lag_s=3 * 86_400)


@pytest.mark.parametrize(
    ("recorded", "days", "source", "usd"),
    [
        (None, 0, MEASURED, 10),
        ("0", 9, MEASURED, 10),
        ("4", 1, MEASURED, 10),
        ("9.80", 1, RECORD, Decimal("9.80")),
        ("4", 3, RECORD, 4),
    ],
)
def test_a_record_of_the_run_takes_the_place_of_its_time_when_it_is_whole_or_settled(
    recorded: str | None, days: float, source: SpendSource, usd: int | Decimal
) -> None:
    [item] = charged(RUN, recorded, days=days)

    assert (item.source, item.amount.amount, item.scope) == (source, Decimal(usd), Scope.RUN)


@pytest.mark.parametrize("days", [0, 1, 3, 30])
@pytest.mark.parametrize("recorded", ["0.40", "10", "12"])
def test_a_fee_comes_on_top_of_the_time_whatever_it_is_and_however_late(recorded: str, days: float) -> None:
    machines, fee = charged(FEE, recorded, days=days)

    assert (machines.source, machines.amount.amount, machines.scope) == (MEASURED, Decimal(10), Scope.RUN)
    assert (fee.source, fee.amount.amount, fee.scope) == (RECORD, Decimal(recorded), Scope.PLATFORM_FEE)


def test_machines_without_a_price_leave_the_fee_alone() -> None:
    assert [item.scope for item in charged(FEE, "0.40", rate=None)] == [Scope.PLATFORM_FEE]
    assert charged(FEE, None, rate=None) == ()


def test_a_run_that_is_gone_is_charged_to_when_it_was_seen_last() -> None:
    running = replace(SEEN, state=RunState.RUNNING, billable_to=None, observed_at=END, rate=Decimal(5))
    missed = Observation(RunState.ABSENT, "not found", END + timedelta(days=4))

    [item] = charge_as_seen(RUN, [running, missed])

    assert (item.amount.amount, item.period.end) == (Decimal(10), END)
    assert charge_as_seen(RUN, [missed]) == ()
