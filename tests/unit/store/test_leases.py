"""Leases and claims, on both databases. PostgreSQL's clock cannot be moved: there a lease is made to end in its row."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread

import pytest

from ftorch.core.clock import ManualClock
from ftorch.store import SqliteStore, Store, leases

TTL = timedelta(seconds=30)
_NAME = "together/acme"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def acquired(store: Store, owner: str, clock: ManualClock) -> int | None:
    return store.write(lambda tx: leases.acquire(tx, _NAME, owner, TTL, now=clock.now()))


def renewed(store: Store, owner: str, token: int, clock: ManualClock) -> bool:
    return store.write(lambda tx: leases.renew(tx, _NAME, owner, token, TTL, now=clock.now()))


def given_back(store: Store, name: str, owner: str, token: int) -> bool:
    return store.write(lambda tx: leases.release(tx, name, owner, token))


def claimed(store: Store, key: str, owner: str, clock: ManualClock) -> int | None:
    return store.write(lambda tx: leases.claim(tx, key, owner, TTL, now=clock.now()))


def let_it_end(store: Store, clock: ManualClock) -> None:
    if isinstance(store, SqliteStore):
        clock.advance(31)
    else:
        past = TTL // timedelta(microseconds=1)
        store.write(lambda tx: tx.run("UPDATE leases SET expires_at = expires_at - :past", past=past + 1))


def test_of_two_owners_one_gets_the_lease(store: Store, clock: ManualClock) -> None:
    assert acquired(store, "a", clock) == 1
    assert acquired(store, "b", clock) is None


def test_a_lease_that_ended_goes_to_the_next_with_a_greater_token(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    let_it_end(store, clock)

    assert acquired(store, "b", clock) == 2


def test_the_owner_may_ask_again_and_keeps_its_token(store: Store, clock: ManualClock) -> None:
    assert (acquired(store, "a", clock), acquired(store, "a", clock)) == (1, 1)


def test_an_owner_whose_lease_ended_gets_a_new_token(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    let_it_end(store, clock)

    assert acquired(store, "a", clock) == 2


def test_a_lease_is_renewed_while_it_holds(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)

    assert renewed(store, "a", 1, clock)


def test_a_renewed_lease_ends_later(clock: ManualClock, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = SqliteStore.open(tmp_path_factory.mktemp("leases") / "ftorch.db")
    acquired(store, "a", clock)
    clock.advance(20)
    renewed(store, "a", 1, clock)
    clock.advance(20)

    assert acquired(store, "b", clock) is None
    store.close()


def test_a_late_renewal_is_refused_before_and_after_another_took_over(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    let_it_end(store, clock)

    before = renewed(store, "a", 1, clock)
    acquired(store, "b", clock)

    assert (before, renewed(store, "a", 1, clock), renewed(store, "b", 2, clock)) == (False, False, True)


def test_an_old_token_of_the_same_owner_is_refused(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    let_it_end(store, clock)
    acquired(store, "a", clock)

    assert (renewed(store, "a", 1, clock), renewed(store, "a", 2, clock)) == (False, True)


def test_what_is_given_back_is_free_at_once_and_its_token_grows(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)

    assert given_back(store, _NAME, "a", 1)
    assert acquired(store, "b", clock) == 2


def test_giving_back_what_another_took_over_changes_nothing(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    let_it_end(store, clock)
    acquired(store, "b", clock)

    assert not given_back(store, _NAME, "a", 1)
    assert renewed(store, "b", 2, clock)


def test_the_host_clock_means_nothing_on_a_server(store: Store, clock: ManualClock) -> None:
    acquired(store, "a", clock)
    clock.advance(10_000_000)

    expected = 2 if isinstance(store, SqliteStore) else None

    assert acquired(store, "b", clock) == expected


def test_work_is_claimed_once_even_by_one_owner(store: Store, clock: ManualClock) -> None:
    assert claimed(store, "run-1", "a", clock) == 1
    assert claimed(store, "run-1", "a", clock) is None
    assert claimed(store, "run-2", "b", clock) == 1


def test_a_claim_that_ended_or_was_given_back_is_free(store: Store, clock: ManualClock) -> None:
    claimed(store, "run-1", "a", clock)
    let_it_end(store, clock)

    second = claimed(store, "run-1", "b", clock)
    is_free = given_back(store, "run-1", "b", 2)

    assert (second, is_free, claimed(store, "run-1", "a", clock)) == (2, True, 3)


def test_a_claim_says_how_long_it_lasts_at_most(store: Store, clock: ManualClock) -> None:
    def left_s() -> float:
        return leases.left_s(store.read(), "run-1", now=clock.now())

    never = left_s()
    claimed(store, "run-1", "a", clock)
    taken = left_s()
    given_back(store, "run-1", "a", 1)

    assert never == left_s() == 0.0
    assert TTL.total_seconds() - 5 < taken <= TTL.total_seconds()


def test_of_many_threads_one_gets_the_claim(store: Store, clock: ManualClock) -> None:
    barrier, tokens = Barrier(16), list[int | None]()

    def work(owner: str) -> None:
        barrier.wait()
        tokens.append(claimed(store, "run-1", owner, clock))

    threads = [Thread(target=work, args=(f"owner-{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(tokens, key=str) == [1, *[None] * 15]
