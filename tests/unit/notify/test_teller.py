"""Notices on their way: to a real server, until it takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from crash.world import Inline
from e2e.receiver import Receiver, listening
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.manifest.notify import Notify
from ftorch.notify.rehearsal import send_test
from ftorch.notify.teller import Teller
from ftorch.notify.views import NoticeView, notice_views
from ftorch.store import EventRow, SqliteStore
from unit.jobs import rows
from unit.jobs.cloud import Cloud, CloudProvider

CHANNEL = Notify(type="webhook", url="env:NEWS", secret="env:KEY")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as found:
        yield found


@pytest.fixture
def context(tmp_path: Path, receiver: Receiver) -> Iterator[Context]:
    clock = ManualClock()
    store = SqliteStore.open(tmp_path / "ftorch.db")
    provider = CloudProvider(Cloud(clock))
    env = {"NEWS": receiver.url, "KEY": receiver.secret}
    yield Context(store, clock, Ids(), Home(tmp_path), "abc123", env, lambda _name: provider)
    store.close()


def teller(context: Context, *channels: Notify) -> Teller:
    return Teller(context, channels or (CHANNEL,), pool=Inline)


def news(context: Context, subject: str = "s", kind: NoticeKind = NoticeKind.REFUSED) -> None:
    context.store.write(lambda tx: tell(context, tx, Notice(kind, subject, title="support/2 was refused")))


def advance(context: Context, seconds: float) -> None:
    assert isinstance(context.clock, ManualClock)
    context.clock.advance(seconds)


def listed(context: Context) -> Sequence[NoticeView]:
    return notice_views(context.store)


def test_a_notice_is_sent_once_and_noted(context: Context, receiver: Receiver) -> None:
    news(context)
    one = teller(context)

    for _ in range(3):
        one.tick()

    assert [data["title"] for data in receiver.of("refused")] == ["support/2 was refused"]
    [view] = listed(context)
    assert view.deliveries[0].sent_at is not None


def test_no_notice_shows_a_secret(context: Context, receiver: Receiver) -> None:
    context.redactor.conceal(["wandb-123"])
    words = Notice(NoticeKind.FAILED, "s", "failed", text="login wandb-123 refused", hint="curl -H 'Bearer abcdef123'")

    context.store.write(lambda tx: tell(context, tx, words))
    teller(context).tick()

    [told] = receiver.of("failed")
    assert (told["text"], told["hint"]) == ("login [redacted] refused", "curl -H 'Bearer [redacted]'")


def test_a_subject_is_told_once_whoever_says_it_again(context: Context, receiver: Receiver) -> None:
    news(context)
    news(context)
    teller(context).tick()

    assert len(receiver.taken) == 1


def test_what_nobody_takes_is_sent_again_with_longer_pauses_under_one_id(context: Context, receiver: Receiver) -> None:
    receiver.refusals = 3
    news(context)
    one = teller(context)
    waits = []
    for _ in range(4):
        one.tick()
        waits.append(one.tick().next_at)
        advance(context, 600)

    assert len({attempt["webhook-id"] for attempt in receiver.attempts}) == 1
    assert len(receiver.taken) == 1
    assert [wait is not None for wait in waits] == [True, True, True, False]


def pauses(context: Context, attempts: int) -> list[float]:
    """Seconds from each attempt to the next one."""
    one = teller(context)
    found = []
    for _ in range(attempts):
        one.tick()
        [view] = listed(context)
        next_at = view.deliveries[0].next_at
        assert next_at is not None
        found.append((next_at - context.clock.now()).total_seconds())
        advance(context, found[-1])
    return found


def test_the_pauses_double(context: Context, receiver: Receiver) -> None:
    receiver.refusals = 9
    news(context)

    assert pauses(context, 4) == [5.0, 10.0, 20.0, 40.0]


def test_the_pause_that_a_receiver_asks_for_is_kept(context: Context, receiver: Receiver) -> None:
    receiver.refusals, receiver.retry_after = 1, "90"
    news(context)
    one = teller(context)
    one.tick()

    advance(context, 89)
    one.tick()
    early = len(receiver.attempts)
    advance(context, 1)
    one.tick()

    assert (early, len(receiver.taken)) == (1, 1)


@pytest.mark.parametrize(("asked", "kept"), [("1", [5.0, 10.0, 20.0]), ("15", [15.0, 15.0, 20.0])])
def test_a_receiver_that_asks_for_a_shorter_pause_than_ours_gets_ours(
    context: Context, receiver: Receiver, asked: str, kept: list[float]
) -> None:
    receiver.refusals, receiver.retry_after = 9, asked
    news(context)

    assert pauses(context, 3) == kept


def test_a_receiver_that_asks_for_days_is_asked_again_after_three_hours(context: Context, receiver: Receiver) -> None:
    receiver.refusals, receiver.retry_after = 9, "999999"
    news(context)

    assert pauses(context, 1) == [3 * 3600.0]


def test_what_nobody_ever_takes_is_given_up_and_kept_with_the_reason(context: Context, receiver: Receiver) -> None:
    receiver.refusals = 999
    news(context)
    one = teller(context)
    for _ in range(60):
        one.tick()
        advance(context, timedelta(hours=3).total_seconds())

    [view] = listed(context)
    assert (view.deliveries[0].attempts, view.deliveries[0].error) == (36, "answered 503")
    assert (view.deliveries[0].sent_at, view.deliveries[0].next_at) == (None, None)


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(context: Context, receiver: Receiver) -> None:
    receiver.secret = "whsec_b3RoZXI="
    news(context)
    one = teller(context)
    for _ in range(3):
        one.tick()
        advance(context, 600)

    assert len(receiver.attempts) == 1
    assert listed(context)[0].deliveries[0].error == "answered 410"


def test_a_process_that_died_while_sending_leaves_it_to_the_next_one(
    context: Context, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiedError(BaseException):
        """The process is gone."""

    def die(*_: object) -> None:
        raise DiedError

    news(context)
    monkeypatch.setattr("ftorch.notify.teller.send", die)
    with pytest.raises(DiedError):
        teller(context).tick()
    monkeypatch.undo()

    teller(context).tick()
    before = len(receiver.taken)
    advance(context, 61)
    teller(context).tick()

    assert (before, len(receiver.taken)) == (0, 1)


def test_each_channel_gets_what_it_asks_for(context: Context, receiver: Receiver) -> None:
    wants = Notify(type="webhook", url="env:NEWS", secret="env:KEY", on=(NoticeKind.FAILED,))
    news(context)
    news(context, "t", NoticeKind.FAILED)

    teller(context, wants).tick()

    assert [one["type"] for one in receiver.taken] == ["ftorch.failed"]


def test_a_daemon_that_knows_nobody_leaves_the_news_to_one_that_does(context: Context, receiver: Receiver) -> None:
    news(context)
    Teller(context, (), pool=Inline).tick()

    teller(context).tick()

    assert len(receiver.taken) == 1


def test_what_nobody_was_there_to_tell_for_days_is_no_news(context: Context, receiver: Receiver) -> None:
    news(context)
    advance(context, timedelta(days=4).total_seconds())

    teller(context).tick()

    assert receiver.taken == []
    assert [view.deliveries for view in listed(context)] == [[]]


def test_a_secret_that_is_missing_now_may_be_set_later(context: Context, receiver: Receiver) -> None:
    env = dict(context.env)
    key = env.pop("KEY")
    poor = Context(context.store, context.clock, context.ids, context.home, "abc123", env, context.open_provider)
    news(poor)
    teller(poor).tick()
    said = listed(context)[0].deliveries[0].error

    env["KEY"] = key
    advance(context, 10)
    teller(poor).tick()

    assert said == "webhook env:NEWS: KEY is not set"
    assert len(receiver.taken) == 1


def test_an_attempt_that_breaks_is_counted_and_its_words_are_not_kept(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("https://hooks/secret")

    monkeypatch.setattr("ftorch.notify.teller.send", breaks)
    news(context)
    one = teller(context)
    for _ in range(60):
        one.tick()
        advance(context, timedelta(hours=3).total_seconds())

    [view] = listed(context)
    assert (view.deliveries[0].attempts, view.deliveries[0].error) == (36, "could not be sent: RuntimeError")
    assert view.deliveries[0].next_at is None


def test_what_was_for_a_channel_that_is_gone_is_given_up_after_three_days(context: Context, receiver: Receiver) -> None:
    receiver.refusals = 1
    news(context)
    teller(context).tick()
    others = teller(context, Notify(type="slack", url="env:SLACK"))
    tried_at = []
    for _ in range(2):
        advance(context, timedelta(days=2).total_seconds())
        others.tick()
        tried_at.append(listed(context)[0].deliveries[0].next_at)

    [view] = listed(context)
    assert [at is not None for at in tried_at] == [True, False]
    assert view.deliveries[0].error == "webhook env:NEWS is not in ftorch.toml any more"


def event(context: Context, name: str, detail: str = "") -> None:
    row = EventRow(seq=0, job_id="job-1", run_key=None, at=context.clock.now(), event=name, detail=detail)
    context.store.write(lambda tx: tx.add_event(row))


@pytest.fixture
def job(context: Context) -> None:
    job = rows.job(limit_micro=5_000_000, estimate_micro=1_000_000, reason="over_budget", detail="used up")
    context.store.write(lambda tx: tx.insert_job(job, "{}"))
    context.store.write(lambda tx: tx.add_entry(rows.charge(job_id="job-1", amount_micro=1_250_000)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("job succeeded", "finished"),
        ("job unknown", "unknown"),
        ("over budget", "over_budget"),
        ("job failed", "over_budget"),
        ("job running", None),
    ],
)
def test_the_end_of_a_job_is_told_with_its_dollars(
    context: Context, receiver: Receiver, job: None, name: str, kind: str | None
) -> None:
    one = teller(context)
    one.tick()
    event(context, name)

    one.tick()
    one.tick()

    told = [(item["type"], item["data"]["dollars"]["spend"]["amount"]) for item in receiver.taken]
    assert told == ([(f"ftorch.{kind}", "1.25")] if kind else [])


def test_what_was_over_before_anybody_listened_is_no_news(context: Context, receiver: Receiver, job: None) -> None:
    event(context, "job succeeded")

    teller(context).tick()

    assert receiver.taken == []


def test_a_test_says_at_once_what_is_wrong(context: Context, receiver: Receiver) -> None:
    well = send_test(context, CHANNEL)
    ill = send_test(context, Notify(type="slack", url="env:SLACK"))

    assert (well, ill) == (None, "slack env:SLACK: SLACK is not set")
    assert json.dumps(receiver.of("test")).count("a test of ftorch") == 1
