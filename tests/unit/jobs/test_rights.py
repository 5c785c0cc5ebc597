"""Leadership and claims as a daemon has them: one provider's trouble is its own, and what is held is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import CredentialsError
from ftorch.jobs.accounts import in_a_thread
from ftorch.jobs.rights import LEASE, Shared
from ftorch.store import SqliteStore

TTL_S = LEASE.total_seconds()


class Providers:
    """Whose accounts they say they are, or what they raise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.errors: dict[str, Exception] = {}

    def account(self, name: str) -> str:
        self.asked.append(name)
        if name in self.errors:
            raise self.errors[name]
        return "acct"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


@pytest.fixture
def providers() -> Providers:
    return Providers()


Daemon = Callable[..., Shared]


@pytest.fixture
def daemon(store: SqliteStore, clock: ManualClock, providers: Providers) -> Daemon:
    """Makes one whose rounds the test turns, and whose questions are answered at once."""

    def make(owner: str = "me", begin: Any = lambda call: call()) -> Shared:
        return Shared(store, clock, owner, providers.account, begin=begin)

    return make


def led(rights: Shared, *names: str) -> list[bool]:
    """After one round in which they are wanted."""
    for name in names:
        rights.leads(name)
    rights.renew()
    return [rights.leads(name) for name in names]


@pytest.mark.parametrize("error", [CredentialsError("refused the key"), OSError("no space left")], ids=["key", "bug"])
def test_a_provider_that_cannot_be_asked_keeps_no_other_from_being_led(
    daemon: Daemon, providers: Providers, error: Exception
) -> None:
    providers.errors["acme"] = error

    assert led(daemon(), "acme", "zeta") == [False, True]


def test_a_provider_that_could_not_be_asked_is_asked_again_a_little_later_each_time(
    daemon: Daemon, providers: Providers, clock: ManualClock
) -> None:
    providers.errors["acme"] = CredentialsError("refused the key")
    rights = daemon()

    for _ in range(60):
        led(rights, "acme")
        clock.advance(1)

    assert len(providers.asked) == 4  # at 0, 5, 15 and 35 seconds


def test_a_provider_is_led_as_soon_as_it_can_be_asked(daemon: Daemon, providers: Providers, clock: ManualClock) -> None:
    providers.errors["acme"] = CredentialsError("refused the key")
    rights = daemon()
    refused = led(rights, "acme")
    providers.errors.clear()
    clock.advance(6)

    assert (refused, led(rights, "acme")) == ([False], [True])


def test_what_is_held_is_renewed_while_a_provider_does_not_answer(daemon: Daemon, clock: ManualClock) -> None:
    questions: list[Callable[[], None]] = []
    rights = daemon(begin=questions.append)
    rights.leads("zeta")
    rights.renew()
    questions.pop()()
    led(rights, "zeta")

    for _ in range(int(3 * TTL_S)):
        led(rights, "silent")
        clock.advance(1)

    assert len(questions) == 1
    assert led(rights, "silent", "zeta") == [False, True]
    assert led(daemon("other"), "zeta") == [False]


def test_a_round_is_one_commit_whatever_is_held(daemon: Daemon, store: SqliteStore, clock: ManualClock) -> None:
    rights = daemon()
    led(rights, "a", "b", "c")
    with rights.claimed("run-1"), rights.claimed("run-2"):
        clock.advance(TTL_S / 2)
        before = store.commits

        rights.renew()

        assert store.commits == before + 1


def test_a_round_with_nothing_to_renew_writes_nothing(daemon: Daemon, store: SqliteStore) -> None:
    rights = daemon()
    led(rights, "a")
    before = store.commits

    rights.renew()

    assert store.commits == before


def test_a_leader_that_came_too_late_gives_way_to_the_next(daemon: Daemon, clock: ManualClock) -> None:
    late, other = daemon("late"), daemon("other")
    led(late, "a")
    clock.advance(TTL_S + 1)
    led(other, "a")

    assert (late.leads("a"), led(late, "a"), other.leads("a")) == (False, [False], True)


def test_what_is_given_back_is_led_by_the_next_at_once(daemon: Daemon) -> None:
    first, second = daemon("first"), daemon("second")
    led(first, "a")

    first.close()

    assert led(second, "a") == [True]


def test_a_question_is_too_early_until_it_has_its_answer_yes_or_no(daemon: Daemon, providers: Providers) -> None:
    def ask(*names: str) -> bool:
        for name in names:
            rights.leads(name)
        return rights.asked_too_early()

    providers.errors["acme"] = CredentialsError("refused the key")
    led(daemon("other"), "taken")
    rights = daemon()
    before = ask("acme", "taken", "free")
    nothing_asked = ask()

    rights.renew()
    begun = ask()

    assert (before, nothing_asked, begun) == (True, False, True)
    assert (ask("acme", "taken", "free"), ask("new")) == (False, True)


def test_a_claim_that_another_has_is_known_to_be_taken_until_it_may_have_ended(
    daemon: Daemon, clock: ManualClock
) -> None:
    mine, other = daemon(), daemon("other")
    with other.claimed("job-1"):
        clock.advance(5)
        with mine.claimed("job-1") as is_ours:
            taken_s = mine.taken_for_s("job-1")
        clock.advance(taken_s)

        assert (is_ours, taken_s, mine.taken_for_s("job-1")) == (False, TTL_S - 5, 0.0)


def test_whether_somebody_is_at_work_is_asked_of_the_database(daemon: Daemon) -> None:
    mine, other = daemon(), daemon("other")
    with other.claimed("job-1"):
        during = mine.is_taken("job-1")

    assert (during, mine.is_taken("job-1")) == (True, False)


def test_the_thread_that_renews_outlives_whatever_a_round_raises(
    store: SqliteStore, clock: ManualClock, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_raised, leads = threading.Event(), threading.Event()

    def broken(_change: object) -> None:
        was_raised.set()
        raise RuntimeError("a bug")

    rights = Shared(store, clock, "me", providers.account, begin=in_a_thread)
    monkeypatch.setattr(store, "write", broken)
    rights.leads("a")
    rights.start()
    assert was_raised.wait(10)
    monkeypatch.undo()

    for _ in range(500):
        if rights.leads("a"):
            leads.set()
            break
        leads.wait(0.02)

    rights.close()
    assert leads.is_set()
