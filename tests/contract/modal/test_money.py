"""Money at Modal beyond the suites: late statistics, plans without a bill, prices that change."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from contract.modal_bench import ModalBench
from contract.provider_contract import INSTALLATION
from ftorch.core.errors import (
    BillNotEnabledError,
    CredentialsError,
)
from ftorch.core.ids import Ids, run_key
from ftorch.costs.items import SpendSource, Window
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunState

_WEIGHTS = "GET /files/adapter_model.safetensors"


def test_late_statistics_take_the_place_of_measured_time(bench: ModalBench) -> None:
    bench.service.stats_lag_s = 3600
    ref = bench.submit()
    seen = bench.finish(ref)

    [first] = bench.provider.charges(ref, [seen])
    bench.advance(3 * 3600)
    [last] = bench.provider.charges(ref, [seen])

    assert (first.source, last.source) == (SpendSource.MEASURED_TIME, SpendSource.RUN_RECORD)
    billed = sum((usd for _, cost in bench.sandbox(ref).costs(bench.clock.now()) for usd in cost.values()), Decimal(0))
    assert last.amount.amount == billed
    assert first.amount.amount <= last.amount.amount
    assert last.as_of > first.as_of


def test_statistics_of_half_a_run_are_not_believed(bench: ModalBench) -> None:
    bench.service.stats_lag_s = 30
    ref = bench.submit()
    seen = bench.finish(ref)

    [first] = bench.provider.charges(ref, [seen])
    bench.advance(30)
    [last] = bench.provider.charges(ref, [seen])

    assert (first.source, last.source) == (SpendSource.MEASURED_TIME, SpendSource.RUN_RECORD)


def test_statistics_that_never_come_leave_the_measured_time(bench: ModalBench) -> None:
    ref = bench.submit()
    seen = bench.finish(ref)
    bench.service.has_billing = False

    [item] = bench.provider.charges(ref, [seen])
    bench.advance(3 * 3600)

    assert item.source is SpendSource.MEASURED_TIME
    assert bench.provider.charges(ref, [seen]) == (item,)


def test_a_run_that_left_no_mark_is_found_by_what_it_cost(bench: ModalBench) -> None:
    ref = bench.submit()
    bench.advance(3)
    bench.service.preempt(bench.sandbox(ref))

    [found] = bench.provider.find([ref.key])[ref.key]

    assert (found.remote_id, found.place) == (None, ref.place)
    seen = bench.provider.observe([found])[found]
    assert (seen.state, seen.retry_event) == (RunState.STOPPED, RetryEvent.CAPACITY)
    [item] = bench.provider.charges(found, [seen])
    assert item.amount.amount > 0


def test_what_a_run_cost_is_found_although_our_clock_was_set_back_after_its_key_was_made(bench: ModalBench) -> None:
    key = run_key(INSTALLATION, Ids().ulid(bench.clock.now() + timedelta(hours=3)))
    ref = bench.submit(bench.order(key=key))
    bench.advance(3)
    bench.service.preempt(bench.sandbox(ref))

    assert bench.provider.find([key])[key]


def test_a_bill_that_the_plan_does_not_include_is_named(bench: ModalBench) -> None:
    bench.service.has_billing = False
    now = bench.clock.now()

    with pytest.raises(BillNotEnabledError, match="Team and Enterprise") as caught:
        list(bench.bills.line_items(Window(now, now.replace(hour=23))))

    assert "Team and Enterprise" in (caught.value.hint or "")


def test_a_token_that_has_expired_is_no_plan_without_a_bill(bench: ModalBench) -> None:
    now = bench.clock.now()
    expired = bench.with_refused_key()

    with pytest.raises(CredentialsError, match="refused the token"):
        list(expired.line_items(Window(now, now.replace(hour=23))))


def test_a_token_that_has_expired_is_no_workspace_without_prices(bench: ModalBench) -> None:
    with pytest.raises(CredentialsError, match="refused the token"):
        bench.with_refused_key().placements(bench.plan)


def test_what_the_workspace_pays_counts_before_the_price_list(
    bench: ModalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = type(bench.provider).listed(bench.plan)
    monkeypatch.setattr("ftorch.emulators.modal.money_rpcs.RATES", {"gpu_hour_cost_t4": "0.10"})

    place, before = bench.provider.placements(bench.plan)[0], listed[0]

    assert (place.name, before.name) == ("T4", "T4")
    assert place.rate is not None
    assert before.rate is not None
    assert before.rate - place.rate == Decimal("0.49")


def test_a_raised_price_is_read_back(bench: ModalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = bench.running()
    before = bench.provider.observe([ref])[ref].rate
    monkeypatch.setattr("ftorch.emulators.modal.money_rpcs.RATES", {"gpu_hour_cost_t4": "5.59"})
    later = type(bench.provider).from_env(bench.env, bench.clock)

    after = later.observe([ref])[ref].rate

    later.close()

    assert before is not None
    assert after == before + 5


def test_a_workspace_that_tells_no_prices_reads_no_rate_back(bench: ModalBench) -> None:
    bench.service.has_billing = False
    ref = bench.running()

    assert bench.provider.observe([ref])[ref].rate is None
    assert bench.provider.placements(bench.plan)[0].rate is not None
