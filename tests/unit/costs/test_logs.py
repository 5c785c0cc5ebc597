"""Logs of four tools become the same calls; what is no call is named with its line."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.errors import DataError
from ftorch.costs.logs.call import Call
from ftorch.costs.logs.read import read_calls
from ftorch.costs.logs.summary import LogSummary, summarise

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
NANOS = int(AT.timestamp()) * 10**9

LINES: Mapping[str, Mapping[str, Any]] = {
    "openai": {
        "request": {"model": "m", "messages": []},
        "response": {
            "model": "m",
            "created": int(AT.timestamp()),
            "usage": {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 40}},
        },
    },
    "openai bare": {
        "model": "m",
        "created": int(AT.timestamp()),
        "usage": {"prompt_tokens": 100, "completion_tokens": 7},
    },
    "openai batch": {
        "custom_id": "a",
        "response": {
            "status_code": 200,
            "body": {
                "model": "m",
                "created": int(AT.timestamp()),
                "usage": {"prompt_tokens": 100, "completion_tokens": 7},
            },
        },
        "error": None,
    },
    "openai responses": {
        "model": "m",
        "created_at": AT.timestamp(),
        "usage": {"input_tokens": 100, "output_tokens": 7},
    },
    "litellm": {
        "request_id": "r",
        "spend": 0.0012,
        "model": "m",
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "startTime": "2026-10-01T12:00:00Z",
        "cache_hit": "False",
        "status": "success",
    },
    "otel flat": {
        "name": "chat m",
        "start_time": "2026-10-01T12:00:00Z",
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 7,
        },
    },
    "otel old names": {
        "start_time": "2026-10-01T12:00:00Z",
        "attributes": {
            "gen_ai.system": "openai",
            "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 100,
            "gen_ai.usage.completion_tokens": 7,
        },
    },
    "otlp": {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {"name": "GET /", "startTimeUnixNano": str(NANOS), "attributes": []},
                            {
                                "name": "chat",
                                "startTimeUnixNano": str(NANOS),
                                "attributes": [
                                    {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
                                    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "100"}},
                                    {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "7"}},
                                ],
                            },
                        ]
                    }
                ]
            }
        ]
    },
    "langfuse": {
        "type": "GENERATION",
        "startTime": "2026-10-01 12:00:00.000000",
        "model": "m",
        "usageDetails": {"input": 60, "input_cached_tokens": 40, "output": 7, "total": 107},
        "costDetails": {"total": 0.0012},
    },
    "langfuse export": {
        "type": "GENERATION",
        "start_time": "2026-10-01 12:00:00.000000",
        "provided_model_name": "m",
        "usage_details": {"input": 100, "output": 7},
        "cost_details": {"total": "0.0012"},
    },
}


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(f"{json.dumps(row) if not isinstance(row, str) else row}\n" for row in rows))
    return path


@pytest.mark.parametrize("name", LINES)
def test_every_form_is_recognised_and_says_the_same(tmp_path: Path, name: str) -> None:
    [call] = read_calls(written(tmp_path, LINES[name]))

    assert (call.at, call.model, call.input_tokens, call.output_tokens) == (AT, "m", 100, 7)
    assert call.is_paid
    assert call.cost in (None, Decimal("0.0012"))


@pytest.mark.parametrize("name", ["openai", "langfuse"])
def test_cached_tokens_are_some_of_those_read(tmp_path: Path, name: str) -> None:
    [call] = read_calls(written(tmp_path, LINES[name]))

    assert (call.input_tokens, call.cached_tokens) == (100, 40)


@pytest.mark.parametrize(
    "row",
    [
        {**LINES["litellm"], "cache_hit": "True"},
        {**LINES["litellm"], "status": "failure"},
        {"custom_id": "a", "created": 1, "model": "m", "response": {"status_code": 429, "body": {}}, "error": None},
        {**LINES["openai bare"], "error": {"message": "no"}},
        {**LINES["langfuse"], "level": "ERROR"},
        {**LINES["otel flat"], "status": {"code": "ERROR"}},
    ],
)
def test_what_nobody_paid_for_is_not_counted(tmp_path: Path, row: Mapping[str, Any]) -> None:
    [call] = read_calls(written(tmp_path, row))

    assert not call.is_paid


def test_spans_and_events_of_something_else_are_passed_over(tmp_path: Path) -> None:
    other = {"attributes": {"http.method": "GET"}, "start_time": "2026-10-01T12:00:00Z"}
    event = {**LINES["langfuse"], "type": "SPAN"}

    assert len(list(read_calls(written(tmp_path, LINES["otel flat"], other)))) == 1
    assert list(read_calls(written(tmp_path, event))) == []


@pytest.mark.parametrize(
    ("row", "form", "words"),
    [
        ("{", "auto", "is not JSON"),
        ("[]", "auto", "is no object"),
        ({"x": 1}, "auto", "of no form that is known"),
        ({**LINES["litellm"], "prompt_tokens": -1}, "auto", "prompt_tokens must be a count, not -1"),
        ({**LINES["litellm"], "prompt_tokens": True}, "auto", "prompt_tokens must be a count"),
        ({**LINES["litellm"], "startTime": "soon"}, "auto", "startTime must be a date and time, not 'soon'"),
        ({**LINES["litellm"], "spend": "much"}, "auto", "spend must be an amount, not 'much'"),
        ({**LINES["litellm"], "model": None}, "auto", "has no model"),
        ({**LINES["openai bare"], "usage": {}}, "auto", "has no usage.prompt_tokens"),
        ({"usage": 3, "model": "m", "created": 1}, "openai", "has no usage.prompt_tokens"),
        ({"resourceSpans": 3}, "auto", "is not built as a call is"),
    ],
)
def test_what_is_no_call_is_named_with_its_line(tmp_path: Path, row: Any, form: str, words: str) -> None:
    path = written(tmp_path, "", "", row)

    with pytest.raises(DataError) as refused:
        list(read_calls(path, form))

    [fault] = refused.value.faults
    assert words in fault.message
    assert fault.line == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(read_calls(tmp_path / "none.jsonl"))


def calls(days: int, per_day: int, start: datetime = AT, **changes: Any) -> Iterator[Call]:
    values = {
        "model": "m",
        "input_tokens": 1000,
        "cached_tokens": 0,
        "output_tokens": 10,
        "cost": None,
        "is_paid": True,
    }
    for day in range(days):
        for _ in range(per_day):
            yield Call(at=start + timedelta(days=day), **{**values, **changes})


def counted(found: Iterator[Call], *, period: str = "month", model: str | None = None) -> LogSummary:
    return summarise(found, Path("x.jsonl"), period=period, cost_of=lambda _call: Decimal("0.002"), model=model)


def test_a_month_of_calls_is_a_month_of_volume() -> None:
    found = counted(calls(31, 100, datetime(2026, 10, 1, tzinfo=UTC)))

    assert found.paid == 3100
    assert found.calls_per_period == round(100 * Decimal(730) / 24)
    assert found.cost_per_call == Decimal("0.002")


def test_the_median_of_complete_months_is_not_moved_by_one_odd_month() -> None:
    def months() -> Iterator[Call]:
        for month, per_day in ((7, 10), (8, 10), (9, 900), (10, 10)):
            yield from calls(31 if month != 9 else 30, per_day, datetime(2026, month, 1, tzinfo=UTC))

    assert counted(months(), period="day").calls_per_period == 10


def test_without_a_complete_month_the_first_and_last_day_are_parts() -> None:
    def week() -> Iterator[Call]:
        yield from calls(1, 3)
        yield from calls(8, 50, AT + timedelta(days=1))
        yield from calls(1, 1, AT + timedelta(days=9))

    assert counted(week(), period="day").calls_per_period == 50


def test_a_day_without_calls_counts() -> None:
    def gap() -> Iterator[Call]:
        yield from calls(5, 40)
        yield from calls(5, 40, AT + timedelta(days=10))

    assert counted(gap(), period="day").calls_per_period < 30


def test_less_than_a_week_is_refused() -> None:
    with pytest.raises(DataError, match="covers 6 days"):
        counted(calls(6, 10))
    assert counted(calls(7, 10)).paid == 70


def test_a_log_of_others_is_refused() -> None:
    with pytest.raises(DataError, match="holds no call of z"):
        counted(calls(8, 1), model="z")


def test_the_logs_own_cost_counts_before_any_price() -> None:
    assert counted(calls(8, 1, cost=Decimal("0.5"))).cost_per_call == Decimal("0.5")


def test_what_was_not_paid_is_counted_apart() -> None:
    def some() -> Iterator[Call]:
        yield from calls(8, 2)
        yield from calls(8, 1, is_paid=False)

    found = counted(some())
    assert (found.paid, found.left_out) == (16, 8)


def test_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("w") as stream:
        for number in range(40_000):
            at = (AT + timedelta(minutes=number)).isoformat()
            stream.write(json.dumps({**LINES["litellm"], "startTime": at, "request_id": str(number)}) + "\n")

    tracemalloc.start()
    found = counted(read_calls(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found.paid == 40_000
    assert peak < 2_000_000
