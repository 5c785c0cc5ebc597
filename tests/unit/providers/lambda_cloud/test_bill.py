"""The charge of a machine: from whom its end is known, and what remains in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import ProviderUnavailableError
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem
from ftorch.providers.base import Observation, RunRef, RunState
from ftorch.providers.lambda_cloud.api import Api, Event
from ftorch.providers.lambda_cloud.bill import Known, item
from ftorch.providers.lambda_cloud.records import Record, Records

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
REF = RunRef("lambda", "a", "ft-abc123-01m6bfp5g0wzffesc3pkw68675", "i1", "gpu_1x_a10@us-east-1")
PER_MINUTE = Decimal("0.0215")


class Log:
    """An audit log."""

    def __init__(self, *events: Event, is_down: bool = False) -> None:
        self.asked = 0
        self._events = events
        self._is_down = is_down

    def events(self, _start: datetime, _end: datetime, operation: str) -> Iterator[Event]:
        self.asked += 1
        if self._is_down:
            raise ProviderUnavailableError("down", provider="lambda", operation=operation)
        yield from self._events


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def charged(log: Log, record: Record | None, history: Sequence[Observation] = ()) -> LineItem | None:
    clock = ManualClock(at(86_400))
    return item(Known(REF, "i1", None, record, history), cast(Api, log), clock)


def record(**changes: Any) -> Record:
    return Record(REF.key, "i1", "gpu_1x_a10@us-east-1", 129, START, healthy_at=START, **changes)


def ended(action: str, seconds: float, instance_id: str = "i1") -> Event:
    return Event(action=action, event_time=at(seconds), resource_lrns=(f"lrn:v1:instance:{instance_id}",))


def test_an_end_within_one_minute_is_exact_and_nobody_is_asked() -> None:
    log = Log()

    found = charged(log, record(ending_from=at(130), ended_at=at(140)))

    assert found is not None
    assert (found.amount, log.asked) == (Money(PER_MINUTE * 3), 0)


def test_an_end_in_doubt_is_told_by_the_audit_log() -> None:
    others = [ended("launch", 30), ended("terminate", 20, "i2")]
    log = Log(*others, ended("instance.terminated", 130))

    found = charged(log, record(ending_from=at(100), ended_at=at(400)))

    assert found is not None
    assert found.amount == Money(PER_MINUTE * 3)


@pytest.mark.parametrize("log", [Log(), Log(is_down=True)], ids=["silent", "down"])
def test_an_end_that_nobody_tells_is_an_interval_and_the_figure_its_upper_end(log: Log) -> None:
    found = charged(log, record(ending_from=at(100), ended_at=at(400)))

    assert found is not None
    assert found.amount == Money(PER_MINUTE * 7)
    assert found.between == (Money(PER_MINUTE * 1), Money(PER_MINUTE * 8))


def test_a_machine_whose_record_lies_on_another_laptop_is_charged_by_the_row_of_its_run() -> None:
    seen = Observation(
        RunState.SUCCEEDED, "succeeded", at(600), rate=Decimal("1.29"), billable_from=START, billable_to=at(600)
    )

    found = charged(Log(ended("terminate", 700)), None, [seen])

    assert found is not None
    assert found.amount == Money(PER_MINUTE * 12)


def test_a_machine_without_a_record_is_charged_to_when_it_was_found_gone_however_late_it_is_charged() -> None:
    row = Observation(RunState.ABSENT, "not found", at(600), rate=Decimal("1.29"), billable_from=START)

    found = charged(Log(), None, [replace(row, billable_to=at(290))])

    assert found is not None
    assert found.amount == Money(PER_MINUTE * 10)
    assert found.between == (Money(PER_MINUTE * 4), Money(PER_MINUTE * 11))


def test_a_look_that_missed_a_machine_is_not_taken_for_a_sight_of_it() -> None:
    alive = Observation(RunState.RUNNING, "train", at(100), rate=Decimal("1.29"), billable_from=START)
    missed = Observation(RunState.ABSENT, "not found", at(400))

    found = charged(Log(), record(seen_at=at(90), ended_at=at(400)), [alive, missed])

    assert found is not None
    assert found.between == (Money(PER_MINUTE * 1), Money(PER_MINUTE * 8))


def test_a_machine_that_nobody_ever_saw_has_no_price() -> None:
    assert charged(Log(), None) is None


def test_the_price_is_the_one_of_the_launch_whatever_came_later() -> None:
    dearer = Observation(RunState.RUNNING, "train", at(60), rate=Decimal("9.99"), billable_from=START)

    found = charged(Log(), record(ending_from=at(60), ended_at=at(60)), [dearer])

    assert found is not None
    assert found.amount == Money(PER_MINUTE)


def test_a_record_outlives_its_process_and_keeps_what_came_first(tmp_path: Path) -> None:
    records = Records(Home(tmp_path))
    records.note(REF.key, "i1", machine="m", cents_per_hour=129, healthy_at=START, seen_at=at(10))
    records.note(REF.key, "i1", cents_per_hour=999, healthy_at=at(50), ended_at=at(90))

    again = Records(Home(tmp_path)).get("i1")

    assert again is not None
    assert (again.cents_per_hour, again.healthy_at, again.ended_at) == (129, START, at(90))
    assert [one.instance_id for one in Records(Home(tmp_path)).of_key(REF.key)] == ["i1"]


def test_a_look_alone_is_not_written_each_time(tmp_path: Path) -> None:
    records = Records(Home(tmp_path))
    records.note(REF.key, "i1", seen_at=at(0))
    path = tmp_path / "lambda" / "machines" / "i1.json"
    before = path.stat().st_mtime_ns

    for second in range(1, 50):
        records.note(REF.key, "i1", seen_at=at(second))

    assert path.stat().st_mtime_ns == before
    seen = records.get("i1")
    assert seen is not None
    assert seen.seen_at == at(49)
