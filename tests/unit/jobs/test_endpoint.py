from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    BudgetError,
    CredentialsError,
    FtorchError,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
    UsageError,
)
from ftorch.core.money import Money
from ftorch.evals.rows import scored
from ftorch.jobs.endpoint import Endpoint, Question, ask_all, paid
from ftorch.jobs.endpoint.cache import Cache
from ftorch.manifest.lifetime import PerCall, PerToken
from sample.chat import KEY, MODEL, PAID, PER_INPUT, PER_OUTPUT, ChatService, Fault

PER_TOKEN = PerToken(
    per_million_input=Money(PER_INPUT * 1_000_000),
    per_million_output=Money(PER_OUTPUT * 1_000_000),
    input_tokens=0,
    output_tokens=0,
    source="the sample service",
)
MAX_TOKENS = 8
WORST = Decimal("0.0046")
"""Of one of our questions: 14 tokens for the 40 bytes of its messages, and 8 of an answer."""


class SlowedClock(ManualClock):
    """Notes how long it slept."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        super().sleep(seconds)


@dataclass(frozen=True, slots=True)
class Setup:
    """A service, an endpoint that names it, and a folder for the answers."""

    service: ChatService
    endpoint: Endpoint
    cache: Path
    clock: SlowedClock

    def ask(
        self,
        questions: Sequence[Question],
        *,
        limit: Money | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        **changes: Any,
    ) -> Sequence[Mapping[str, Any]]:
        endpoint = replace(self.endpoint, **changes)
        return ask_all(endpoint, questions, cache=self.cache, limit=limit, clock=self.clock, progress=progress)

    def answered(self, questions: Sequence[Question]) -> set[str]:
        """The prompts that have an answer in the cache."""
        answers = Cache(self.cache, self.endpoint).answers
        return {prompt(one) for one in questions if self.endpoint.call_id(one.messages) in answers}

    def booked(self, questions: Sequence[Question]) -> Decimal:
        """What the books are told, lost calls at their worst case."""
        found = Decimal(0)
        for one in paid(self.endpoint, questions, cache=self.cache):
            assert one.lost_cost is not None
            found += one.lost_cost.amount + (one.cost.amount if one.cost else 0)
        return found


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    clock = SlowedClock()
    with ChatService(clock) as service:
        yield made(service, clock, tmp_path / "answers")


def made(service: ChatService, clock: SlowedClock, cache: Path) -> Setup:
    endpoint = Endpoint(
        url=service.url,
        model=MODEL,
        api_key=KEY,
        price=PER_TOKEN,
        max_tokens=MAX_TOKENS,
        concurrency=1,
        key_variable="HOSTED_API_KEY",
    )
    return Setup(service, endpoint, cache, clock)


def asked(number: int) -> list[Question]:
    return [
        Question(row, f"{row:064x}", [{"role": "user", "content": f"question {row}"}], f"reference {row}")
        for row in range(number)
    ]


def prompt(question: Question) -> str:
    return question.messages[-1]["content"]


def test_each_row_comes_back_in_order_with_what_it_cost_and_how_long_it_took(setup: Setup) -> None:
    setup.service.latency_s = 0.25

    rows = setup.ask(asked(3))

    assert [row["row"] for row in rows] == [0, 1, 2]
    assert rows[1] == {
        "row": 1,
        "row_sha256": f"{1:064x}",
        "output": "answer to question 1",
        "reference": "reference 1",
        "prompt_tokens": 2,
        "output_tokens": 4,
        "latency_ms": 250.0,
        "cost": "0.0018",
        "truncated": False,
        "note": "",
        "cached": False,
        "lost_calls": 0,
        "call": setup.endpoint.call_id(asked(3)[1].messages),
    }
    assert sum(Decimal(row["cost"]) for row in rows) == setup.service.bill


def test_a_row_is_one_that_evaluation_reads(setup: Setup) -> None:
    [row] = setup.ask(asked(1))

    score = scored(row)

    assert (score.output, score.cost, score.prompt_tokens) == ("answer to question 0", Decimal("0.0018"), 2)


def test_the_request_names_model_temperature_and_length(setup: Setup) -> None:
    setup.ask(asked(1))

    assert setup.service.bodies == [
        {
            "model": MODEL,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": "question 0"}],
        }
    ]


def test_what_stands_behind_the_question_mark_of_the_base_stays_there(setup: Setup) -> None:
    setup.ask(asked(1), url=f"{setup.service.url}/?api-version=7")

    assert setup.service.paths == ["/v1/chat/completions?api-version=7"]


def test_a_second_pass_asks_nobody_and_keeps_what_the_first_measured(setup: Setup) -> None:
    setup.service.latency_s = 0.25
    first = setup.ask(asked(3))

    second = setup.ask(asked(3))

    assert setup.service.asked.total() == 3
    assert second == [{**row, "cached": True} for row in first]


@pytest.mark.parametrize("change", [{"model": "other"}, {"max_tokens": 7}, {"url": "http://127.0.0.1:9/v1"}])
def test_another_model_length_or_address_is_another_question(setup: Setup, change: dict[str, Any]) -> None:
    messages = asked(1)[0].messages

    other = replace(setup.endpoint, **change).call_id(messages)

    assert other != setup.endpoint.call_id(messages)


def test_price_key_and_concurrency_change_no_question(setup: Setup) -> None:
    setup.ask(asked(1))

    [row] = setup.ask(asked(1), api_key="sk-another", price=None, concurrency=4, url=f"{setup.service.url}/")

    assert (row["cached"], row["cost"]) == (True, "0.0018")


def test_rows_with_the_same_question_share_one_answer_and_its_cost_is_new_once(setup: Setup) -> None:
    one, other = asked(2)
    same = replace(other, messages=one.messages)

    rows = setup.ask([one, same, one])

    assert setup.service.asked.total() == 1
    assert [(row["row"], row["cached"]) for row in rows] == [(0, False), (1, True), (0, True)]
    assert rows[1]["reference"] == "reference 1"


def test_progress_counts_rows_that_have_an_answer(setup: Setup) -> None:
    setup.ask(asked(2))
    told: list[tuple[int, int]] = []

    setup.ask(asked(4), progress=lambda done, total: told.append((done, total)))

    assert told == [(2, 4), (3, 4), (4, 4)]


def test_no_question_is_no_call(setup: Setup) -> None:
    assert setup.ask([]) == []


def test_a_pass_that_is_broken_in_the_middle_goes_on_where_it_ended(setup: Setup) -> None:
    questions = asked(9)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.ask(questions, concurrency=3, progress=stop)
    kept = setup.answered(questions)
    rows = setup.ask(questions, concurrency=3)

    assert 4 <= len(kept) < 9
    assert all(count == 1 for count in setup.service.asked.values())
    assert {row["output"].removeprefix("answer to ") for row in rows if row["cached"]} == kept


def test_who_stops_it_all_does_not_wait_for_a_pause(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    paused, stopped = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        paused.set()
        stopped.wait(10)
        threading.Event().wait(0.001)  # let the other thread run

    def stop(done: int, total: int) -> None:
        if done == 1:
            assert paused.wait(10)
            stopped.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(setup.clock, "sleep", sleep)
    setup.service.script(Fault.RATE_LIMITED, value="250")

    with pytest.raises(KeyboardInterrupt):
        setup.ask(asked(2), concurrency=2, progress=stop)

    assert setup.service.asked.total() == 2


def test_a_killed_process_goes_on_and_what_it_lost_is_counted(setup: Setup) -> None:
    questions = asked(12)
    started = threading.Event()

    def kill(number: int) -> None:
        if number == 7:
            started.wait(30)
            child.kill()

    setup.service.on_call = kill
    code = (
        "import sys; from pathlib import Path; from unit.jobs.test_endpoint import *\n"
        "service = type('Elsewhere', (), {'url': sys.argv[1]})()\n"
        "made(service, SlowedClock(), Path(sys.argv[2])).ask(asked(12), concurrency=3)\n"
    )

    child = subprocess.Popen(
        [sys.executable, "-c", code, setup.service.url, str(setup.cache)], env={"PYTHONPATH": ":".join(sys.path)}
    )
    started.set()
    assert child.wait() < 0
    kept, bill = setup.answered(questions), setup.service.bill
    booked = setup.booked(questions)
    rows = setup.ask(questions, concurrency=3)

    assert 4 <= len(kept) <= 6
    assert all(setup.service.asked[one] == 1 for one in kept)
    assert booked >= bill
    assert sum(row["lost_calls"] for row in rows) >= setup.service.asked.total() - 12 > 0
    assert setup.booked(questions) >= setup.service.bill


def test_a_line_that_a_kill_has_cut_is_passed_over_and_spoils_no_other(setup: Setup) -> None:
    setup.ask(asked(2))
    [path] = setup.cache.iterdir()
    path.write_bytes(path.read_bytes()[:-20])

    rows = setup.ask(asked(3))
    again = setup.ask(asked(3))

    assert [row["cached"] for row in rows] == [True, False, False]
    assert [row["lost_calls"] for row in rows] == [0, 1, 0]
    assert all(row["cached"] for row in again)


_FAULTS = st.sampled_from([None, None, *PAID, Fault.ERROR, Fault.DROP_BEFORE, Fault.RATE_LIMITED, Fault.HTML])
_PASSES = st.lists(
    st.tuples(
        st.lists(_FAULTS, max_size=6),
        st.none() | st.integers(0, 4).map(lambda calls: Money(WORST * calls)),
        st.none() | st.integers(0, 5),
        st.integers(0, 40),
        st.integers(1, 4),
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(number=st.integers(1, 6), passes=_PASSES)
def test_an_answer_is_asked_for_once_and_no_cent_is_forgotten_whatever_is_cut_where(
    number: int, passes: list[tuple[list[Fault | None], Money | None, int | None, int, int]]
) -> None:
    questions, clock = asked(number), SlowedClock()

    with TemporaryDirectory() as folder, ChatService(clock) as service:
        setup = made(service, clock, Path(folder))
        for faults, limit, stop_at, cut, concurrency in passes:
            for fault in faults:
                service.script(fault)
            before, bill = {one: service.asked[one] for one in setup.answered(questions)}, service.bill
            _broken_pass(setup, questions, limit=limit, stop_at=stop_at, concurrency=concurrency)
            assert all(service.asked[one] == count for one, count in before.items())
            assert limit is None or service.bill - bill <= limit.amount
            assert setup.booked(questions) >= service.bill
            _cut_last_line(setup.cache, cut)
            assert setup.booked(questions) >= service.bill
        service.clear()
        before = {one: service.asked[one] for one in setup.answered(questions)}
        rows = setup.ask(questions)
        asked_in_all = service.asked.total()
        again = setup.ask(questions)

        assert [row["output"] for row in rows] == [f"answer to question {row}" for row in range(number)]
        assert all(service.asked[one] == count for one, count in before.items())
        assert service.asked.total() == asked_in_all
        assert all(row["cached"] for row in again)
        assert setup.booked(questions) >= service.bill


def _broken_pass(
    setup: Setup, questions: list[Question], *, limit: Money | None, stop_at: int | None, concurrency: int
) -> None:
    def stop(done: int, total: int) -> None:
        if stop_at is not None and done >= stop_at:
            raise InterruptedError

    with suppress(FtorchError, InterruptedError):
        setup.ask(questions, limit=limit, concurrency=concurrency, progress=stop)


def _cut_last_line(folder: Path, length: int) -> None:
    """What a kill does to a line that is being written. A `sent` is written before its call leaves, so never torn."""
    for path in folder.iterdir():
        *lines, last = path.read_bytes().splitlines(keepends=True) or [b""]
        if b'"sent"' not in last:
            path.write_bytes(b"".join(lines) + last[: max(len(last) - length, 0)])


def test_as_many_questions_are_under_way_as_allowed_and_never_more(setup: Setup) -> None:
    setup.service.together = threading.Barrier(3)

    setup.ask(asked(9), concurrency=3)

    assert setup.service.most_at_once == 3


@pytest.mark.parametrize("fault", sorted(PAID))
def test_a_lost_answer_is_asked_for_once_more_and_told(setup: Setup, fault: Fault) -> None:
    setup.service.script(fault)

    [row] = setup.ask(asked(1))

    assert (row["output"], row["lost_calls"], setup.service.asked.total()) == ("answer to question 0", 1, 2)
    assert row["cost"] == "0.0018"


@pytest.mark.parametrize("fault", sorted(PAID))
def test_an_answer_lost_twice_is_an_error_that_names_address_and_row(setup: Setup, fault: Fault) -> None:
    setup.service.script(None)
    setup.service.script(fault, times=5)

    with pytest.raises(ProviderError) as caught:
        setup.ask(asked(2))

    assert isinstance(caught.value, ProviderProtocolError if fault is Fault.HALF else ProviderUnavailableError)
    assert setup.service.url in caught.value.message
    assert "row 1" in caught.value.message
    assert setup.service.asked["question 1"] == 2


def test_what_two_lost_calls_may_have_cost_is_told_to_the_books(setup: Setup) -> None:
    setup.service.script(Fault.DROP_AFTER, times=2)

    with pytest.raises(ProviderUnavailableError):
        setup.ask(asked(1))

    [one] = paid(setup.endpoint, asked(1), cache=setup.cache)
    assert (one.cost, one.lost_calls, one.lost_cost) == (None, 2, Money(2 * WORST))


def test_an_endpoint_that_is_down_is_tried_for_seconds_and_costs_nothing(setup: Setup) -> None:
    with pytest.raises(
        ProviderUnavailableError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached for row 0"
    ) as caught:
        setup.ask(asked(1), url="http://127.0.0.1:9/v1")

    assert caught.value.hint is not None
    assert "eval.hosted.url" in caught.value.hint
    assert 0 < setup.clock.slept_s <= 10
    assert paid(replace(setup.endpoint, url="http://127.0.0.1:9/v1"), asked(1), cache=setup.cache) == []


def test_a_pause_that_is_asked_for_is_made_and_costs_nothing(setup: Setup) -> None:
    setup.service.script(Fault.RATE_LIMITED, value="17")

    [row] = setup.ask(asked(1), limit=Money(WORST))

    assert setup.clock.slept_s == 17
    assert row["lost_calls"] == 0


def test_a_pause_may_be_a_date(setup: Setup) -> None:
    setup.service.script(Fault.RATE_LIMITED, value=format_datetime(setup.clock.now() + timedelta(seconds=40)))

    setup.ask(asked(1))

    assert setup.clock.slept_s == 40


@pytest.mark.parametrize("value", ["", "0", "-3", "nonsense", "60"])
def test_pauses_without_end_are_not_waited_for(setup: Setup, value: str) -> None:
    setup.service.script(Fault.RATE_LIMITED, times=1000, value=value)

    with pytest.raises(RateLimitedError, match="row 0") as caught:
        setup.ask(asked(1))

    assert 200 <= setup.clock.slept_s <= 300
    assert caught.value.hint is not None
    assert "eval.hosted.concurrency" in caught.value.hint


def test_a_pause_of_an_hour_is_told_at_once(setup: Setup) -> None:
    setup.service.script(Fault.RATE_LIMITED, value="3600")

    with pytest.raises(RateLimitedError) as caught:
        setup.ask(asked(1))

    assert (setup.clock.slept_s, caught.value.retry_after_s) == (0, 3600)


def test_the_end_of_the_money_comes_before_the_call_that_it_could_not_pay(setup: Setup) -> None:
    with pytest.raises(BudgetError) as caught:
        setup.ask(asked(9), limit=Money(Decimal("0.0102")))

    assert setup.service.bill == Decimal("0.0072")
    assert caught.value.message == (
        "acme-chat-small has answered 4 of 9 rows: 0.0072 USD is spent of the 0.0102 USD that the budget leaves, "
        "and the next answer may cost 0.0046 USD"
    )
    assert caught.value.hint == "raise budget.limit, then ask again: every answer so far is kept and not paid for twice"


def test_asking_again_after_the_end_of_the_money_goes_on(setup: Setup) -> None:
    with pytest.raises(BudgetError):
        setup.ask(asked(6), limit=Money(Decimal("0.0102")))

    rows = setup.ask(asked(6), limit=Money(Decimal("0.0102")))

    assert [row["cached"] for row in rows] == [True] * 4 + [False] * 2
    assert setup.service.asked.total() == 6


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_at_once_stop_at_the_same_place_as_one_after_the_other(setup: Setup, concurrency: int) -> None:
    with pytest.raises(BudgetError):
        setup.ask(asked(9), limit=Money(Decimal("0.0102")), concurrency=concurrency)

    assert setup.service.asked.total() == 4


def test_a_lost_call_counts_at_its_worst_case(setup: Setup) -> None:
    setup.service.script(Fault.DROP_AFTER)

    with pytest.raises(BudgetError, match=r"answered 0 of 1 rows: 0\.0046 USD is spent"):
        setup.ask(asked(1), limit=Money(2 * WORST - Decimal("0.0001")))

    assert setup.service.asked.total() == 1


def test_a_call_without_usage_counts_at_its_worst_case(setup: Setup) -> None:
    setup.service.change = lambda completion: {**completion, "usage": None}

    with pytest.raises(BudgetError, match=r"answered 1 of 2 rows: 0\.0046 USD is spent"):
        setup.ask(asked(2), limit=Money(2 * WORST - Decimal("0.0001")))


def test_a_limit_without_a_price_is_refused_before_anything_is_sent(setup: Setup) -> None:
    with pytest.raises(BudgetError, match="nobody names a price for acme-chat-small"):
        setup.ask(asked(1), limit=Money(Decimal(100)), price=None)

    assert setup.service.asked.total() == 0


def test_without_price_and_limit_the_cost_is_unknown_and_not_nothing(setup: Setup) -> None:
    [row] = setup.ask(asked(1), price=None)

    [one] = paid(setup.endpoint, asked(1), cache=setup.cache)
    assert (row["cost"], row["prompt_tokens"], one.cost) == (None, 2, None)


def test_a_price_per_call_needs_no_usage(setup: Setup) -> None:
    setup.service.change = lambda completion: {**completion, "usage": None}
    price = PerCall(per_call=Money(Decimal("0.005")), source="contract")

    [row] = setup.ask(asked(1), price=price, limit=Money(Decimal("0.005")))

    assert (row["cost"], row["prompt_tokens"]) == ("0.005", None)


def test_a_free_endpoint_fits_into_an_empty_purse(setup: Setup) -> None:
    price = PerCall(per_call=Money(Decimal(0)), source="our own machine")

    rows = setup.ask(asked(3), price=price, limit=Money(Decimal(0)), concurrency=3)

    assert [row["cost"] for row in rows] == ["0.00"] * 3


@pytest.mark.parametrize(
    "usage", [None, {}, "many", {"prompt_tokens": 3}, {"prompt_tokens": 3, "completion_tokens": -1}]
)
def test_usage_that_is_not_told_is_never_guessed(setup: Setup, usage: object) -> None:
    setup.service.change = lambda completion: {**completion, "usage": usage}

    [row] = setup.ask(asked(1))

    assert (row["output_tokens"], row["cost"]) == (None, None)
    assert row["note"] == "the endpoint told no usage, so tokens are unknown"


def test_an_answer_that_was_cut_at_max_tokens_is_kept_and_flagged(setup: Setup) -> None:
    setup.service.answer = lambda prompt: "word " * 20

    [row] = setup.ask(asked(1))

    assert (row["truncated"], row["output"], row["output_tokens"]) == (True, " ".join(["word"] * 8), 8)
    assert scored(row).is_truncated


def choice(content: object, finish: str = "stop", **more: object) -> Callable[[dict[str, Any]], object]:
    message = {"role": "assistant", "content": content, **more}
    return lambda completion: {**completion, "choices": [{"message": message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("change", "output", "note"),
    [
        (choice([{"type": "text", "text": "bil"}, {"type": "text", "text": "ling"}]), "billing", ""),
        (choice([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "billing"}]), "billing", ""),
        (choice(""), "", ""),
        (choice(None, refusal="I must not say."), "I must not say.", "the model refused"),
        (choice(None, "content_filter"), "", "withheld by the endpoint's content filter"),
        (choice(None, "length"), "", "max_tokens was used up before the answer began"),
        (choice("half a \ud83d"), "half a \ufffd", ""),
        (choice("schön 日本 \u2028 \x85 \U0001f600"), "schön 日本 \u2028 \x85 \U0001f600", ""),
    ],
)
def test_what_counts_as_the_answer(
    setup: Setup, change: Callable[[dict[str, Any]], object], output: str, note: str
) -> None:
    setup.service.change = change

    [row] = setup.ask(asked(1))
    [again] = setup.ask(asked(1))

    assert (row["output"], row["note"]) == (output, note)
    assert again == {**row, "cached": True}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda completion: {**completion, "choices": []}, "choices"),
        (lambda completion: {"error": {"message": "overloaded"}}, "overloaded"),
        (lambda completion: [completion], "the body"),
        (choice(None), "choices.0.message.content: there is none"),
        (choice([{"type": "image"}]), "choices.0.message.content: there is none"),
        (choice(7), "choices.0.message.content"),
    ],
)
def test_an_answer_of_another_shape_is_an_error_and_not_asked_for_again(
    setup: Setup, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    setup.service.change = change

    with pytest.raises(ProviderProtocolError) as caught:
        setup.ask(asked(1))

    assert words in caught.value.message
    assert f"{setup.service.url} answered row 0 with no chat completion" in caught.value.message
    assert setup.service.asked.total() == 1
    assert setup.booked(asked(1)) == WORST


@pytest.mark.parametrize("body", ["", "null", "[" * 100_000, '{"choices": ' + "9" * 5000 + "}", '{"choices": "\x00"}'])
def test_a_body_that_no_reader_takes_is_an_error_of_ours(setup: Setup, body: str) -> None:
    setup.service.script(Fault.BODY, times=2, value=body)

    with pytest.raises(ProviderProtocolError, match="row 0"):
        setup.ask(asked(1))


def test_a_web_page_is_shown_from_its_beginning(setup: Setup) -> None:
    setup.service.script(Fault.HTML)

    with pytest.raises(ProviderProtocolError, match="<html><body>Sign in") as caught:
        setup.ask(asked(1))

    assert caught.value.body == "<html><body>Sign in, ***</body></html>"
    assert caught.value.request_id == "req-000001"
    assert caught.value.hint is not None
    assert "https://api.example.com/v1" in caught.value.hint


def test_a_refused_key_names_the_variable(setup: Setup) -> None:
    setup.service.script(Fault.REFUSED_KEY)

    with pytest.raises(
        CredentialsError, match=r"refused the API key at row 0: Incorrect API key provided: \*\*\*"
    ) as caught:
        setup.ask(asked(1))

    assert caught.value.hint is not None
    assert "set HOSTED_API_KEY" in caught.value.hint
    assert paid(setup.endpoint, asked(1), cache=setup.cache) == []


def test_a_missing_key_is_asked_for(setup: Setup) -> None:
    with pytest.raises(CredentialsError, match="wants an API key at row 0") as caught:
        setup.ask(asked(1), api_key=None)

    assert caught.value.hint is not None
    assert "eval.hosted.api_key: env:" in caught.value.hint


def test_a_model_that_is_not_there_says_where_the_list_is(setup: Setup) -> None:
    with pytest.raises(RunRejectedError, match="has no model 'nope'") as caught:
        setup.ask(asked(1), model="nope")

    assert caught.value.hint is not None
    assert f"{setup.service.url}/models lists its models" in caught.value.hint


def test_a_refusal_keeps_the_words_of_the_endpoint(setup: Setup) -> None:
    setup.service.script(Fault.REJECT)

    with pytest.raises(RunRejectedError, match=r"answered row 0 with 400: temperature is not supported for \*\*\*"):
        setup.ask(asked(1))

    assert setup.service.asked.total() == 1


def test_a_redirect_is_not_followed_with_the_key(setup: Setup) -> None:
    setup.service.script(Fault.REDIRECT, value=f"{setup.service.url}/elsewhere")

    with pytest.raises(RunRejectedError, match="/v1/elsewhere"):
        setup.ask(asked(1))

    assert setup.service.asked.total() == 1


def test_the_first_failure_in_the_order_of_the_rows_is_told_and_the_rest_is_not_sent(setup: Setup) -> None:
    setup.service.script(None, times=2)
    setup.service.script(Fault.REJECT, times=100)

    with pytest.raises(RunRejectedError, match="row 2"):
        setup.ask(asked(50))

    assert setup.service.asked.total() == 3


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "nonsense", "http://[::1", "http://"])
def test_an_address_that_is_none_is_told_before_anything_is_sent(setup: Setup, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        setup.ask(asked(1), url=url)

    assert caught.value.hint is not None
    assert "eval.hosted.url" in caught.value.hint


def test_a_password_in_the_address_is_refused_and_not_repeated(setup: Setup) -> None:
    with pytest.raises(CredentialsError) as caught:
        setup.ask(asked(1), url="https://user:hunter2@api.example.com/v1")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} ", f"{KEY}ü", f"{KEY}\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(setup: Setup, key: str) -> None:
    with pytest.raises(CredentialsError, match="HOSTED_API_KEY") as caught:
        setup.ask(asked(1), api_key=key)

    assert KEY not in str(caught.value)


@pytest.mark.parametrize("fault", [None, *Fault])
def test_the_key_is_in_no_cache_error_or_log(
    setup: Setup, fault: Fault | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    setup.service.answer = lambda prompt: f"your key is {KEY}"
    value = {Fault.RATE_LIMITED: "9", Fault.BODY: KEY, Fault.REDIRECT: f"http://127.0.0.1:9/?key={KEY}"}
    if fault is not None:
        setup.service.script(fault, times=3, value=value.get(fault, ""))

    with structlog.testing.capture_logs() as logs:
        told = _told(setup)

    kept = b"".join(path.read_bytes() for path in setup.cache.iterdir())
    assert KEY not in f"{told} {logs} {caplog.text} {setup.endpoint!r}"
    assert KEY.encode() not in kept
    assert kept


def test_a_key_inside_an_answer_of_another_shape_is_not_repeated(setup: Setup) -> None:
    setup.service.change = choice({KEY: KEY})

    assert KEY not in _told(setup)


def _told(setup: Setup) -> str:
    """All that the caller sees: the rows, or the error with everything in it and behind it."""
    try:
        return repr(setup.ask(asked(1)))
    except FtorchError as error:
        found: list[object] = []
        cause: BaseException | None = error
        while cause is not None:
            found += [str(cause), repr(cause), vars(cause) if cause is error else ""]
            cause = cause.__cause__ or cause.__context__
        return repr(found)


def test_a_key_that_is_a_word_does_not_change_answers(setup: Setup) -> None:
    setup.service.key = "EMPTY"
    setup.service.change = choice("EMPTY")

    [row] = setup.ask(asked(1), api_key="EMPTY")

    assert row["output"] == "EMPTY"
