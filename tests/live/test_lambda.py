"""Lambda itself, on the cheapest type without a GPU: some cents. `pytest -m live tests/live/test_lambda.py`, keys set.

It prints what only the real service can tell; whoever runs it writes the date into the registry.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from contract.rows import plan_with_rows
from ftorch.core.clock import SystemClock
from ftorch.core.ids import Ids, run_key
from ftorch.core.money import Money
from ftorch.manifest.schema import Budget, Resources
from ftorch.providers.base import RunOrder, RunRef, RunState
from ftorch.providers.lambda_cloud.provider import LambdaProvider

pytestmark = [pytest.mark.live, pytest.mark.enable_socket, pytest.mark.timeout(3600)]

CHEAPEST = "cpu_4x_general"
LIMIT = Money(Decimal("0.50"))
_BOOT = timedelta(minutes=15)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LambdaProvider]:
    made = LambdaProvider.from_env({**os.environ, "FTORCH_HOME": str(tmp_path / "home")})
    yield made
    made.close()


def test_one_machine_from_its_launch_to_its_end(provider: LambdaProvider, tmp_path: Path) -> None:
    clock = SystemClock()
    plan, bundle = plan_with_rows(
        tmp_path / "rows",
        providers=("lambda",),
        budget=Budget(limit=LIMIT),
        resources=Resources(gpu=(CHEAPEST,), max_duration=timedelta(minutes=20)),
    )
    place = provider.placements(plan)[0]
    assert place.detail["region"], f"{CHEAPEST} has no room now; try again later"
    order = RunOrder(
        key=run_key("livetk", Ids().ulid(clock.now())),
        plan=plan,
        staged=provider.stage(plan, bundle),
        placement=place,
        send_before=clock.now() + timedelta(seconds=60),
        max_duration_s=1200,
        max_life_s=3600,
    )
    ref = provider.submit(order)
    try:
        _follow(provider, ref, order)
        provider.fetch(ref, tmp_path)
    finally:
        ended_at = _end(provider, ref)

    (item,) = provider.charges(ref, ())
    print(f"cost: {item.amount}; {item.description}")
    now = clock.now()
    events = provider._api.events(ended_at - timedelta(hours=1), now, "charges")
    print("audit:", [(event.action, event.resource_lrns) for event in events])
    assert item.amount.amount < LIMIT.amount


def _follow(provider: LambdaProvider, ref: RunRef, order: RunOrder) -> None:
    """Until the training has succeeded, telling when what was seen."""
    clock = SystemClock()
    begin, told = clock.now(), ""
    while True:
        seen = provider.observe([ref]).get(ref)
        words = f"{seen.state} {seen.provider_status} billable from {seen.billable_from}" if seen else "nothing learned"
        if words != told:
            told = words
            print(f"{(clock.now() - begin).total_seconds():6.0f} s {words}")
        if seen and seen.state is RunState.SUCCEEDED:
            return
        assert seen is None or seen.state in (RunState.PROVISIONED, RunState.RUNNING, RunState.FINALIZING), seen
        provider.start(ref, order)
        assert clock.now() - begin < 3 * _BOOT
        time.sleep(5)


def _end(provider: LambdaProvider, ref: RunRef) -> datetime:
    while not provider.release(ref):
        time.sleep(2)
    return SystemClock().now()
