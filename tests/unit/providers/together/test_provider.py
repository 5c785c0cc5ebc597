"""Prices and runs at Together, as the engine sees them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contract.together_bench import PREFERENCE, TogetherBench, bundle_of, qwen
from ftorch.core.errors import (
    RunRejectedError,
)
from ftorch.core.money import Money
from ftorch.emulators.server import Fault
from ftorch.emulators.together import Service, TogetherEmulator
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, Dpo, Lora
from ftorch.providers.base import PriceListed, RunState, Staged
from ftorch.providers.together import api
from ftorch.providers.together.provider import TogetherProvider

UPLOAD, PUT, WHOAMI = "POST /v1/files", "PUT /upload/{id}", "GET /v3/whoami"
ESTIMATE = "POST /v1/fine-tunes/estimate-price"


def other_model(base_id: str) -> Plan:
    return qwen().model_copy(update={"base_model": BaseModelRef(id=base_id)})


# the price


def test_the_quote_is_together_s_own_and_at_least_its_minimum(
    bench: TogetherBench, service: Service, emulator: TogetherEmulator
) -> None:
    staged = bench.staged()
    assert bench.provider.quote(bench.plan, None) is None
    assert bench.provider.quote(bench.plan, replace(staged, ready=False)) is None
    assert emulator.requests[ESTIMATE] == 0

    quote = bench.provider.quote(bench.plan, staged)
    service.tariff = replace(service.tariff, minimum=Decimal(0))
    small = bench.provider.quote(bench.plan, staged)
    service.tariff = replace(service.tariff, minimum=Decimal("6.50"))
    dear = bench.provider.quote(bench.plan, staged)

    assert quote is not None
    assert small is not None
    assert dear is not None
    assert quote.amount == small.amount == Money(Decimal("4.00"))
    assert dear.amount == Money(Decimal("6.50"))
    assert "together" in quote.source


def test_a_job_that_the_credit_does_not_cover_is_refused_before_it_is_made(
    bench: TogetherBench, service: Service
) -> None:
    service.credit_limit = Decimal(3)

    with pytest.raises(RunRejectedError, match=r"would cost 4\.00 USD, above the limit of 3\.00 USD") as caught:
        bench.provider.quote(bench.plan, bench.staged())

    assert "add credit" in (caught.value.hint or "")


def test_without_an_estimate_there_is_no_quote(bench: TogetherBench) -> None:
    fresh = bench.provider.stage(bench.plan, bench.bundle)

    assert bench.provider.quote(bench.plan, replace(fresh, ready=True)) is None


def test_a_create_without_credit_is_refused_with_what_to_do(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    order = bench.order()
    emulator.script("POST /v1/fine-tunes", Fault.NO_FUNDS)

    with pytest.raises(RunRejectedError, match="wants money before submit") as caught:
        bench.submit(order)

    assert "add credit" in (caught.value.hint or "")
    assert bench.made(order.key) == 0


def test_a_plan_needs_no_key() -> None:
    assert issubclass(TogetherProvider, PriceListed)
    [place] = TogetherProvider.listed(qwen())

    assert place.token_price is not None
    assert place.token_price.per_million == Decimal("0.48")


# runs


def test_a_dpo_job_is_made_and_comes_home(bench: TogetherBench, tmp_path: Path, service: Service) -> None:
    method = Dpo(type="dpo", lora=Lora(rank=4, alpha=8), learning_rate=1e-5, beta=0.2)
    bench.plan = bench.plan.model_copy(update={"method": method})
    bench.bundle = bundle_of([PREFERENCE] * 16, tmp_path / "dpo", bench.plan)

    run = bench.submit()
    bench.finish(run)

    assert service.newest(run.key).method == "dpo"
    assert bench.provider.fetch(run, tmp_path / "a").files


@pytest.mark.parametrize(
    ("status", "message", "detail"),
    [
        ("user_error", "the loss is not a number", "the loss is not a number"),
        ("error", "a machine was lost", "a machine was lost"),
        ("cancelled", "cancelled in the dashboard", "cancelled in the dashboard"),
    ],
)
def test_a_bad_end_says_why(bench: TogetherBench, service: Service, status: Any, message: str, detail: str) -> None:
    run = bench.running()
    service.end(service.newest(run.key), status, message)

    assert bench.provider.observe([run])[run].detail == detail


def test_why_a_run_ended_may_be_unknown_for_a_while(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    run = bench.running()
    bench.service.end(bench.service.newest(run.key), "error", "a machine was lost")
    emulator.script("GET /v1/fine-tunes/{id}/events", Fault.ERROR, times=None)

    seen = bench.provider.observe([run])[run]

    assert (seen.state, seen.detail) == (RunState.FAILED, "")


def test_a_billing_limit_stops_a_run_and_is_in_its_log(bench: TogetherBench, service: Service) -> None:
    run = bench.running()
    service.limit_billing(service.newest(run.key))

    seen = bench.provider.observe([run])[run]

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, None)
    assert "insufficient balance" in seen.detail
    assert any("billing_limit" in line for line in bench.provider.logs(run, cursor=None).lines)


def test_the_price_is_seen_as_soon_as_there_is_one(bench: TogetherBench) -> None:
    run = bench.submit()
    assert bench.provider.observe([run])[run].accrual is None

    bench.advance(10)

    assert bench.provider.observe([run])[run].accrual == Money(Decimal("4.00"))


def test_a_refund_after_the_end_supersedes_the_charge(bench: TogetherBench, service: Service) -> None:
    run = bench.submit()
    bench.finish(run)
    [before] = bench.provider.charges(run, ())
    bench.advance(3600)
    service.refund(service.newest(run.key), Decimal("1.50"))

    [after] = bench.provider.charges(run, ())

    assert (before.amount, after.amount) == (Money(Decimal("4.00")), Money(Decimal("2.50")))
    assert after.source_ref == before.source_ref
    assert after.as_of > before.as_of


def test_a_thousand_runs_are_read_in_one_request(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    order = bench.order()
    runs = [bench.submit(replace(order, key=bench.new_key())) for _ in range(100)]
    before = emulator.requests.total()

    assert len(bench.provider.observe(runs)) == len(runs)
    assert emulator.requests.total() - before == 1


def test_runs_under_one_key_are_oldest_first_whatever_the_order_of_the_list(
    bench: TogetherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = bench.order()
    runs = []
    for _ in range(3):
        runs.append(bench.submit(order))
        bench.wait()
    listed = api.records
    monkeypatch.setattr(api, "records", lambda http, operation: listed(http, operation=operation)[::-1])

    assert list(bench.provider.find([order.key])[order.key]) == runs


def test_a_second_cancel_of_an_ended_job_is_told_from_one_that_is_refused(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    run = bench.running()
    emulator.script("POST /v1/fine-tunes/{id}/cancel", Fault.NO_FUNDS)

    with pytest.raises(RunRejectedError):
        bench.provider.cancel(run)


def test_a_live_run_is_cancelled_before_it_is_released(bench: TogetherBench) -> None:
    run = bench.running()

    first = bench.provider.release(run)
    bench.until(RunState.STOPPED, run)

    assert (first, bench.provider.release(run)) == (False, True)


# what is loaded


def test_only_an_upload_loads_the_sdk(bench: TogetherBench) -> None:
    code = f"""
import sys
from ftorch.providers.registry import open_provider
provider = open_provider("together", {dict(bench.env)!r})
provider.find(["ft-bench1-01m853egkdvypddzfanrkc5c05"])
provider.check()
print("together" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_what_was_staged_holds_text_alone(bench: TogetherBench) -> None:
    staged: Staged = bench.staged()

    assert set(staged.detail) == {"training_file", "batch_size", "gradient_accumulation_steps"}
    assert all(isinstance(value, str) for value in staged.detail.values())
