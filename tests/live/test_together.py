"""Together itself, once, for money: settles what only the real service can tell.

    TOGETHER_API_KEY=... FTORCH_LIVE_BUDGET="8.00 USD" pytest -s -m live tests/live/test_together.py

One small job is made, at most, and only where Together's own quote is within the budget; whatever breaks, it is
cancelled. What was found out is printed: bring it into docs/providers/together.md, and the date into the registry.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.clock import SystemClock
from ftorch.core.errors import BillNotEnabledError
from ftorch.core.ids import Ids, run_key
from ftorch.core.money import Money
from ftorch.costs.items import LineItem, Window
from ftorch.jobs.bundle import make_bundle
from ftorch.jobs.receipt import write_receipt
from ftorch.manifest.catalogue import canonical_id
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, Lora, Sft
from ftorch.providers.base import ENDED, Bundle, Observation, RunOrder, RunRef, RunState, Staged
from ftorch.providers.together.archive import unpack
from ftorch.providers.together.prices import minimum, token_price
from ftorch.providers.together.provider import TogetherProvider
from unit.plans import plan

pytestmark = [pytest.mark.live, pytest.mark.enable_socket, pytest.mark.timeout(6 * 3600)]

MODEL = os.environ.get("FTORCH_LIVE_MODEL", "meta-llama/Llama-3.1-8B-Instruct")
POLL_S = float(os.environ.get("FTORCH_LIVE_POLL_S", "20"))
LONGEST_S = 4 * 3600
INSTALLATION = "live01"


@dataclass
class Live:
    """The one run, and what was learned from it."""

    provider: TogetherProvider
    plan: Plan
    ref: RunRef
    quoted: Money
    listed_after_s: float
    seen: list[Observation] = field(default_factory=list)


def say(what: str, found: object) -> None:
    print(f"\nFOUND  {what}: {found}")


def budget() -> Money:
    words = os.environ.get("FTORCH_LIVE_BUDGET")
    assert words, 'set FTORCH_LIVE_BUDGET, such as "8.00 USD": nothing is spent without it'
    return Money.parse(words)


def until(question: Callable[[], bool], longest_s: float) -> float:
    """Ask until it is so; returns how long it took."""
    start = time.monotonic()
    while not question():
        assert time.monotonic() - start < longest_s, "it took too long"
        time.sleep(POLL_S)
    return time.monotonic() - start


def rows(folder: Path) -> tuple[Plan, Bundle]:
    answers = ("blue", "green", "yellow", "black")
    (folder / "train.jsonl").write_text("".join(json.dumps(_row(n, answers[n % 4])) + "\n" for n in range(64)))
    method = Sft(type="sft", lora=Lora(rank=8, alpha=16), epochs=1, learning_rate=1e-4, batch_size=8, max_length=512)
    one = plan(providers=("together",), base_model=BaseModelRef(id=MODEL), parameters=8_030_000_000, method=method)
    return one, make_bundle(one, folder)


def _row(number: int, answer: str) -> dict[str, list[dict[str, str]]]:
    question = f"Which colour has thing number {number}?"
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    limit = budget()
    provider = TogetherProvider.from_env(os.environ)
    say("account", provider.check())
    one, bundle = rows(tmp_path_factory.mktemp("live"))
    staged = _staged(provider, one, bundle)
    quote = provider.quote(one, staged)
    assert quote is not None, "together names no price"
    say("quote", quote)
    assert quote.amount <= limit, f"{quote.amount} is above FTORCH_LIVE_BUDGET, {limit}: nothing was made"
    ref = _submitted(provider, one, staged)
    try:
        waited_s = until(lambda: bool(provider.find([ref.key]).get(ref.key)), 600)
        yield Live(provider, one, ref, quote.amount, waited_s)
    finally:
        provider.cancel(ref)
        provider.close()


def _staged(provider: TogetherProvider, one: Plan, bundle: Bundle) -> Staged:
    found: list[Staged] = []

    def is_ready() -> bool:
        found.append(provider.stage(one, bundle))
        return found[-1].ready

    say("seconds until the rows were checked", until(is_ready, 1800))
    return found[-1]


def _submitted(provider: TogetherProvider, one: Plan, staged: Staged) -> RunRef:
    now = SystemClock().now()
    order = RunOrder(
        key=run_key(INSTALLATION, Ids().ulid(now)),
        plan=one,
        staged=staged,
        placement=provider.placements(one)[0],
        send_before=now + timedelta(seconds=30),
        max_duration_s=None,
    )
    return provider.submit(order)


def test_the_suffix_comes_back_in_the_list(live: Live) -> None:
    say("seconds until a new job was in the list", live.listed_after_s)

    assert live.provider.find([live.ref.key]) == {live.ref.key: [live.ref]}
    assert live.listed_after_s <= live.provider.capabilities.visibility_lag_s
    assert live.ref in list(live.provider.owned(INSTALLATION))


def test_the_job_succeeds(live: Live) -> None:
    def has_ended() -> bool:
        live.seen.append(live.provider.observe([live.ref])[live.ref])
        return live.seen[-1].state in ENDED

    until(has_ended, LONGEST_S)

    say("their words for its state", list(dict.fromkeys(seen.provider_status for seen in live.seen)))
    say("the log", "\n".join(live.provider.logs(live.ref, cursor=None).lines))
    assert live.seen[-1].state is RunState.SUCCEEDED
    assert RunState.UNKNOWN not in {seen.state for seen in live.seen}


def test_the_price_in_the_record(live: Live) -> None:
    [item] = live.provider.charges(live.ref, live.seen)
    listed = token_price(live.plan)

    say("price in the record, quote, minimum", (item.amount, live.quoted, minimum()))
    per_million = item.unit_price and item.unit_price * 1_000_000
    say("price per million tokens, in the record and in our list", (per_million, listed and listed.per_million))
    say("the record holds the minimum", item.amount >= minimum())
    assert item.amount <= live.quoted


def test_the_adapter_comes_home(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(archive: Path, folder: Path) -> None:
        say("first bytes and size of the archive", (archive.read_bytes()[:8].hex(), archive.stat().st_size))
        unpack(archive, folder)
        say("files in it", sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")))
        say("its config", (next(folder.rglob("adapter_config.json"))).read_text())

    monkeypatch.setattr("ftorch.providers.together.adapter.unpack", told)

    artifact = live.provider.fetch(live.ref, tmp_path / "a")

    base_id = canonical_id(live.plan.base_model.id)
    receipt = write_receipt(artifact, live.plan, base_id=base_id, job_id="live", run_key=live.ref.key)
    say("tensors", receipt["tensors"])


def test_a_cancel_of_an_ended_job_is_harmless(live: Live) -> None:
    live.provider.cancel(live.ref)

    assert live.provider.observe([live.ref])[live.ref].state is RunState.SUCCEEDED
    assert live.provider.release(live.ref) is True


def test_the_bill(live: Live) -> None:
    """A line may come an hour later: run this one again with the same key, or look at the bill by hand."""
    now = SystemClock().now()
    try:
        lines = list(live.provider.line_items(Window(now - timedelta(days=7), now)))
    except BillNotEnabledError as error:
        say("the bill", error.message)
        return
    say("lines of a week, by what they are called", sorted({line.description for line in lines}))
    say("lines of this run", [_words(line) for line in lines if line.run_key == live.ref.key])


def _words(line: LineItem) -> tuple[str, Decimal]:
    return line.description, line.amount.amount
