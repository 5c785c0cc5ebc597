from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ftorch.core.ids import Ids, installation_of, mark_in, run_key

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_ids_grow_within_one_millisecond() -> None:
    ids = Ids()

    made = [ids.ulid(NOW) for _ in range(1000)]

    assert made == sorted(set(made))


def test_ids_sort_by_time_across_processes() -> None:
    early, late = Ids().ulid(NOW), Ids().ulid(NOW + timedelta(milliseconds=1))

    assert early < late


def test_ids_still_grow_when_the_clock_steps_back() -> None:
    ids = Ids()

    first, second = ids.ulid(NOW), ids.ulid(NOW - timedelta(hours=1))

    assert first < second


def test_a_run_key_fits_the_strictest_name_field() -> None:
    ids = Ids()

    key = run_key(ids.installation(), ids.ulid(NOW))

    assert len(key) == 36
    assert key.replace("-", "").isalnum()
    assert key == key.lower()


def test_the_installation_is_read_back_from_a_key() -> None:
    assert installation_of(run_key("abc123", Ids().ulid(NOW))) == "abc123"


def test_a_strangers_name_has_no_installation() -> None:
    assert installation_of("ft-someone-else") is None


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("ft-abc123-rows.jsonl", "abc123"),
        ("support ft-abc123-01m853 train.jsonl", "abc123"),
        ("soft-abc123-rows.jsonl", None),
        ("ft-abc-rows.jsonl", None),
        ("", None),
    ],
)
def test_a_mark_is_seen_wherever_it_stands_in_a_name(name: str, mark: str | None) -> None:
    assert mark_in(name) == mark
