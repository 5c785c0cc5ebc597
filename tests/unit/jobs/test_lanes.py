from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.clock import ManualClock, SteadyClock
from ftorch.jobs.lanes import Bucket, Lanes, Threads, Work
from ftorch.jobs.pace import Pace
from unit.jobs.desk import Desk, Later
from unit.plans import plan


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def lanes(clock: ManualClock) -> Iterator[Lanes]:
    made = Lanes(clock.boot_s, lambda _: 2.0)
    yield made
    made.close()


def nothing() -> None:
    """A work that does nothing."""


@given(
    asked=st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 10)), max_size=60),
    per_second=st.floats(0.5, 50),
)
def test_a_bucket_never_gives_more_than_its_rate(asked: list[tuple[float, float]], per_second: float) -> None:
    bucket, now_s, given_away, dearest = Bucket(per_second, 0.0), 0.0, 0.0, 0.0
    for pause_s, cost in asked:
        now_s += pause_s
        if bucket.take(cost, now_s):
            given_away, dearest = given_away + cost, max(dearest, cost)

    assert given_away <= max(1.0, per_second) + now_s * per_second + dearest


def test_a_refusal_closes_the_bucket_for_as_long_as_it_asks_and_halves_it() -> None:
    bucket = Bucket(4.0, 0.0)

    bucket.slow_down(30.0, 0.0)

    assert not bucket.take(1, 29.9)
    assert [bucket.take(1, 30.0 + i / 2) for i in range(3)] == [True, True, True]
    assert [bucket.take(1, 31.5 + i / 10) for i in range(3)] == [True, False, False]


def test_after_a_pause_goes_one_call_and_not_all_that_waited() -> None:
    bucket = Bucket(100.0, 0.0)

    bucket.slow_down(30.0, 0.0)

    assert [bucket.take(1, 30.0) for _ in range(3)] == [True, False, False]


def test_a_bucket_comes_back_to_its_rate_when_nothing_is_refused() -> None:
    bucket = Bucket(4.0, 0.0)
    bucket.slow_down(1.0, 0.0)

    bucket.take(0, 61.0)

    assert [bucket.take(1, 70.0) for _ in range(5)] == [True, True, True, True, False]


def test_two_works_with_one_key_are_never_under_way_at_once(lanes: Lanes) -> None:
    assert lanes.add(Work("a", "cloud", nothing))
    assert not lanes.add(Work("a", "cloud", nothing))
    assert lanes.under_way == 1


def test_a_work_that_waited_for_a_thread_waits_for_the_pause_too(clock: ManualClock) -> None:
    threads, done = Later(), threading.Event()
    lanes = Lanes(clock.boot_s, lambda _: 10.0, lambda _count, _name: threads)
    lanes.add(Work("a", "cloud", done.set))
    lanes.start_due()
    lanes.slow_down("cloud", 60.0)

    threads.begin()
    was_done = done.is_set()
    clock.advance(61)
    lanes.start_due()
    threads.begin()

    assert (was_done, done.is_set()) == (False, True)


def test_a_lane_without_tokens_does_not_hold_up_another(lanes: Lanes) -> None:
    done = threading.Event()
    lanes.slow_down("busy", 60.0)
    lanes.add(Work("a", "busy", nothing))
    lanes.add(Work("b", "free", done.set))

    assert lanes.start_due() == 60.0
    assert done.wait(5)
    assert lanes.under_way >= 1


def test_slow_steps_never_hold_up_what_is_urgent(lanes: Lanes, clock: ManualClock) -> None:
    release, done = threading.Event(), threading.Event()
    for number in range(40):
        lanes.add(Work(f"slow-{number}", "cloud", release.wait, cost=0.0))  # type: ignore[arg-type]  # what it returns is dropped
    lanes.add(Work("cancel", "cloud", done.set, cost=0.0, threads=Threads.URGENT))

    lanes.start_due()

    assert done.wait(5)
    release.set()


@pytest.mark.parametrize("blocked", [Threads.CREATES, Threads.FINDS])
@pytest.mark.parametrize(
    ("lane", "kind"), [("other", Threads.CREATES), ("cloud", Threads.STEPS), ("other", Threads.FINDS)]
)
def test_creates_that_block_hold_up_neither_another_provider_nor_other_steps(
    lanes: Lanes, blocked: Threads, lane: str, kind: Threads
) -> None:
    release, done = threading.Event(), threading.Event()
    for number in range(40):
        lanes.add(Work(f"create-{number}", "cloud", release.wait, cost=0.0, threads=blocked))  # type: ignore[arg-type]  # what it returns is dropped
    lanes.add(Work("step", lane, done.set, cost=0.0, threads=kind))

    lanes.start_due()

    was_done = done.wait(5)
    release.set()
    assert was_done


def test_creates_of_one_provider_take_so_many_threads_and_no_more(lanes: Lanes) -> None:
    release, inside = threading.Event(), threading.Semaphore(0)

    def block() -> None:
        inside.release()
        release.wait()

    for number in range(100):
        lanes.add(Work(f"create-{number}", "cloud", block, cost=0.0, threads=Threads.CREATES))
    lanes.start_due()

    taken = [inside.acquire(timeout=5) for _ in range(12)]
    one_more = inside.acquire(timeout=0.1)
    release.set()
    assert (all(taken), one_more) == (True, False)


def test_after_a_halt_nothing_begins(clock: ManualClock) -> None:
    lanes = Lanes(clock.boot_s, lambda _: 100.0)
    release, inside, begun = threading.Event(), threading.Semaphore(0), []

    def block() -> None:
        inside.release()
        release.wait()

    for number in range(12):
        lanes.add(Work(f"create-{number}", "cloud", block, threads=Threads.CREATES))
    lanes.add(Work("last", "cloud", lambda: begun.append(1), threads=Threads.CREATES))
    lanes.start_due()
    assert all(inside.acquire(timeout=5) for _ in range(12))

    lanes.halt()
    release.set()
    lanes.close()

    assert begun == []


def test_a_walk_that_takes_long_to_read_rests_four_times_as_long() -> None:
    pace = Pace(5.0, random.Random(1))

    pace.ended(had_news=True, cpu_s=2.0)
    pace.started(0.0)

    assert 8.0 * 0.9 <= pace.due_s <= 8.0 * 1.1


def test_a_pace_slows_down_to_twice_the_shortest_interval_and_comes_back_with_news() -> None:
    pace = Pace(10.0, random.Random(1))

    for _ in range(20):
        pace.ended(had_news=False)
    pace.started(0.0)
    slow = pace.due_s
    pace.ended(had_news=True)
    pace.started(0.0)

    assert 18 <= slow <= 22
    assert 9 <= pace.due_s <= 11


def test_a_cap_lets_so_many_runs_be_open_and_the_others_wait(capped_desk: Desk) -> None:
    jobs = [capped_desk.submit(plan(providers=("cloud",), name=f"job-{n}", labels={"team": "a"})) for n in range(3)]
    free = capped_desk.submit(plan(providers=("cloud",), name="free", labels={"team": "b"}))
    capped_desk.settle()

    assert len(capped_desk.cloud.runs) == 2
    for job in (*jobs, free):
        assert capped_desk.finish(job).state == "succeeded"


def test_a_wall_clock_that_is_set_forward_does_not_move_the_steady_one() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    start = steady.now()

    clock.jump(3600)
    clock.advance(60)

    assert steady.now() == start + timedelta(seconds=60)


def test_an_offset_that_stays_for_an_hour_is_taken_over() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    clock.jump(600)
    steady.now()

    clock.advance(3601)

    assert steady.now() == clock.now()


@given(st.lists(st.tuples(st.sampled_from(["advance", "jump"]), st.floats(-5000, 5000)), max_size=40))
def test_steady_moments_never_go_backwards(moves: list[tuple[str, float]]) -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    moments = [steady.now()]
    for kind, seconds in moves:
        if kind == "jump":
            clock.jump(seconds)
        else:
            clock.advance(abs(seconds))
        moments.append(steady.now())

    assert moments == sorted(moments)
