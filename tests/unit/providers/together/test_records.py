from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, SpendSource
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Observation, Progress, RunState
from ftorch.providers.together.api import Job
from ftorch.providers.together.records import charge, charge_as_seen, observation, readable, state, why

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RECORD: dict[str, Any] = {
    "id": "ft-1",
    "suffix": KEY,
    "status": "completed",
    "model": "Qwen/Qwen3-8B",
    "created_at": "2026-11-23T10:00:00.125Z",
    "started_at": "2026-11-23T10:00:05Z",
    "updated_at": "2026-11-23T10:20:00Z",
    "token_count": 1_000_000,
    "total_price": 4_000_000_000,
}


def job(**changes: Any) -> Job:
    return Job.model_validate({**RECORD, **changes})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", RunState.QUEUED),
        ("queued", RunState.QUEUED),
        ("running", RunState.RUNNING),
        ("compressing", RunState.FINALIZING),
        ("uploading", RunState.FINALIZING),
        ("cancel_requested", RunState.FINALIZING),
        ("completed", RunState.SUCCEEDED),
        ("cancelled", RunState.STOPPED),
        ("error", RunState.FAILED),
        ("user_error", RunState.FAILED),
        ("COMPLETED", RunState.SUCCEEDED),
    ],
)
def test_their_word_is_one_of_ours(status: str, expected: RunState) -> None:
    assert state(job(status=status)) is expected


def test_a_new_word_is_unknown_and_logged() -> None:
    with structlog.testing.capture_logs() as lines:
        assert state(job(status="defragmenting")) is RunState.UNKNOWN

    assert [(line["event"], line["status"]) for line in lines] == [("unknown status", "defragmenting")]


@pytest.mark.parametrize(
    ("status", "event"),
    [("error", RetryEvent.PROVIDER_ERROR), ("user_error", None), ("cancelled", None), ("completed", None)],
)
def test_only_their_own_fault_is_worth_a_new_run(status: str, event: RetryEvent | None) -> None:
    assert observation(job(status=status), NOW).retry_event is event


def test_a_reading_has_times_tokens_and_the_price() -> None:
    seen = observation(job(), NOW, "Job finished")

    assert seen.billable_from == datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)
    assert seen.billable_to == datetime(2026, 11, 23, 10, 20, tzinfo=UTC)
    assert (seen.trained_tokens, seen.detail) == (1_000_000, "Job finished")
    assert seen.accrual == Money(Decimal(4))


@pytest.mark.parametrize("price", [None, 0])
def test_no_price_and_nothing_are_no_price(price: int | None) -> None:
    assert observation(job(total_price=price), NOW).accrual is None
    assert charge(job(total_price=price), KEY) is None


def test_the_time_that_is_left_is_told_to_the_minute() -> None:
    told = {"estimate_available": True, "seconds_remaining": 61}

    assert observation(job(status="running", progress=told), NOW).progress == Progress(0, 0, seconds_left=120)
    assert observation(job(progress={"estimate_available": False}), NOW).progress is None


def test_a_charge_is_the_price_in_the_record_to_the_nano_dollar() -> None:
    item = charge(job(total_price=4_123_456_789, token_count=7), KEY)

    assert item is not None
    assert item.amount == Money(Decimal("4.123456789"))
    assert (item.source, item.kind) == (SpendSource.RUN_RECORD, EntryKind.PROVISIONAL)
    assert (item.source_ref, item.run_key, item.quantity, item.unit) == ("ft-1/total_price", KEY, Decimal(7), "token")
    assert item.unit_price is not None
    assert abs(item.unit_price * item.quantity - item.amount.amount) < Decimal("1e-20")


def test_a_charge_is_as_new_as_the_record_or_its_last_event() -> None:
    refunded_at = "2026-11-24T09:00:00Z"
    refund = {"type": "refund", "message": "Refunded", "created_at": refunded_at}

    first = charge(job(), KEY)
    by_event = charge(job(events=[refund, {"type": "warning", "created_at": "soon"}]), KEY)
    by_record = charge(job(updated_at=refunded_at), KEY)

    assert first is not None
    assert by_event is not None
    assert by_record is not None
    assert first.as_of < by_event.as_of == by_record.as_of == datetime(2026, 11, 24, 9, tzinfo=UTC)


def test_a_job_that_is_gone_is_charged_as_it_was_seen_last() -> None:
    seen = observation(job(), NOW)
    later = Observation(RunState.ABSENT, "not found", NOW + timedelta(hours=1))

    item = charge_as_seen("ft-1", KEY, [seen, later])

    assert item is not None
    assert (item.amount, item.source_ref, item.as_of) == (Money(Decimal(4)), "ft-1/total_price", NOW)
    assert charge_as_seen("ft-1", KEY, [later]) is None


def test_the_time_of_a_job_that_is_gone_ends_when_it_was_seen_last() -> None:
    seen = observation(job(status="running"), NOW)
    row = replace(seen, state=RunState.ABSENT, observed_at=NOW + timedelta(days=3), billable_to=NOW)

    item = charge_as_seen("ft-1", KEY, [row])

    assert item is not None
    assert item.period.end == NOW


def test_a_job_that_began_after_now_by_their_clock_is_charged_too() -> None:
    seen = observation(job(status="running"), datetime(2026, 11, 23, 9, 59, tzinfo=UTC))

    item = charge_as_seen("ft-1", KEY, [seen])

    assert item is not None
    assert item.period.seconds == 0


def test_one_record_that_nobody_can_read_hides_no_other() -> None:
    strange = {**RECORD, "suffix": "nightly", "total_price": "oops"}

    with structlog.testing.capture_logs() as lines:
        found = list(readable([RECORD, strange, "text", {"id": 5}, {**RECORD, "id": "ft-2"}]))

    assert [one.id for one in found] == ["ft-1", "ft-2"]
    assert [line["fields"] for line in lines] == [
        ["total_price"],
        [""],
        ["id", "status", "created_at"],
    ]


@pytest.mark.parametrize("fault", [{"total_price": "oops"}, {"created_at": None}, {"status": 3}])
def test_a_record_of_ours_that_nobody_can_read_is_unknown_and_not_lost(fault: dict[str, Any]) -> None:
    [found] = readable([{**RECORD, **fault}])

    assert (found.id, found.suffix) == ("ft-1", KEY)
    assert observation(found, NOW).state is RunState.UNKNOWN


def test_a_moment_without_a_zone_is_taken_for_utc() -> None:
    assert job(started_at="2026-11-23T10:00:05").started_at == datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)


def test_the_last_event_with_words_says_why() -> None:
    told = [
        {"type": "job_start", "message": "Job started"},
        {"type": "job_user_error", "message": "the loss is not a number"},
        {"type": "refund"},
    ]

    assert why(job(events=told).events or ()) == "the loss is not a number"
    assert why(()) == ""
