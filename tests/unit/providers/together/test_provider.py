"""What goes wrong before a job is paid: named, with a hint, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contract.together_bench import PREFERENCE, TogetherBench, bundle_of, qwen, write_rows
from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
)
from ftorch.core.money import Money
from ftorch.emulators.server import Fault
from ftorch.emulators.together import KEY, Service, TogetherEmulator
from ftorch.emulators.together.models import MODELS
from ftorch.jobs.bundle import make_bundle
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, Dpo, Lora, Tracking
from ftorch.providers.base import PriceListed, RunState, Staged
from ftorch.providers.http import Http
from ftorch.providers.together import api
from ftorch.providers.together.provider import TogetherProvider
from ftorch.providers.together.settings import Settings
from unit.plans import facts

UPLOAD, PUT, WHOAMI = "POST /v1/files", "PUT /upload/{id}", "GET /v3/whoami"
ESTIMATE = "POST /v1/fine-tunes/estimate-price"


def other_model(base_id: str) -> Plan:
    return qwen().model_copy(update={"base_model": BaseModelRef(id=base_id)})


# whose account


def test_the_account_is_the_organisation_whatever_the_project(bench: TogetherBench) -> None:
    account = bench.provider.check()

    assert (account.id, account.description) == ("org-tiny-support", "Tiny Support, project support")


@pytest.fixture
def of_project(emulator: TogetherEmulator, clock: ManualClock) -> Iterator[TogetherProvider]:
    http = Http("together", emulator.url, clock=clock, key=KEY)
    provider = TogetherProvider(http, clock, Settings(emulator.url, KEY, "proj-search"))
    yield provider
    provider.close()


def test_a_key_of_another_project_than_the_one_that_was_named_is_refused(of_project: TogetherProvider) -> None:
    with pytest.raises(CredentialsError, match="belongs to together's project 'proj-support'") as caught:
        of_project.check()

    assert "TOGETHER_PROJECT_ID" in (caught.value.hint or "")


def test_without_knowing_whose_key_it_is_nothing_is_sent(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    order = bench.order()
    stranger = bench.provider_at(emulator.url, KEY)
    emulator.script(WHOAMI, Fault.GARBAGE, times=None)

    with pytest.raises(ProviderProtocolError):
        stranger.submit(order)

    assert bench.made(order.key) == 0


# staging


def test_a_model_that_cannot_be_tuned_is_refused_before_the_upload(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    with pytest.raises(RunRejectedError, match="together does not fine-tune 'HuggingFaceTB/SmolLM2-135M'") as caught:
        bench.provider.stage(other_model("HuggingFaceTB/SmolLM2-135M"), bench.bundle)

    assert caught.value.hint
    assert emulator.requests[UPLOAD] == 0


def test_a_rank_above_the_limit_is_refused_before_the_upload(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    method = bench.plan.method.model_copy(update={"lora": Lora(rank=128, alpha=256)})

    with pytest.raises(RunRejectedError, match=r"method\.lora\.rank is 128, the most is 64"):
        bench.provider.stage(bench.plan.model_copy(update={"method": method}), bench.bundle)

    assert emulator.requests[UPLOAD] == 0


@pytest.mark.parametrize("wandb", [{}, {"project": "support"}])
def test_tracking_without_a_key_is_refused_before_anything_is_sent(
    bench: TogetherBench, emulator: TogetherEmulator, wandb: dict[str, str]
) -> None:
    tracked = bench.plan.model_copy(update={"tracking": Tracking(wandb=wandb)})

    for call in (lambda: bench.provider.stage(tracked, bench.bundle), lambda: bench.provider.placements(tracked)):
        with pytest.raises(RunRejectedError, match="the manifest names none") as caught:
            call()

    assert "WANDB_API_KEY: env:WANDB_API_KEY" in (caught.value.hint or "")
    assert emulator.requests.total() == 0


def test_what_weights_and_biases_would_not_be_told_is_refused(bench: TogetherBench) -> None:
    tracked = Tracking(wandb={"project": "support", "tags": "a"})
    plan = bench.plan.model_copy(update={"tracking": tracked, "secrets": {"WANDB_API_KEY": "env:WANDB_API_KEY"}})

    with pytest.raises(RunRejectedError, match=r"tracking\.wandb has tags, which together does not pass on") as caught:
        bench.provider.placements(plan)

    assert caught.value.hint == "it takes project, entity, name, base_url"


def test_validation_rows_travel_too(bench: TogetherBench, tmp_path: Path, service: Service) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    write_rows(folder / "train.jsonl", 32)
    write_rows(folder / "validation.jsonl", 8)
    plan = bench.plan.model_copy(update={"dataset": facts(validation_rows=8, validation_sha256="v" * 64)})
    bench.plan, bench.bundle = plan, make_bundle(plan, folder)

    order = bench.order()
    run = bench.submit(order)

    job = service.newest(run.key)
    assert {job.order.training_file, job.order.validation_file} == {
        order.staged.detail["training_file"],
        order.staged.detail["validation_file"],
    }
    assert job.order.n_evals == 3
    assert any("eval loss" in line for line in _log_of_finished(bench, run))


def _log_of_finished(bench: TogetherBench, run: Any) -> list[str]:
    bench.finish(run)
    return list(bench.provider.logs(run, cursor=None).lines)


def test_a_row_that_the_service_refuses_is_named_by_our_file_and_line(bench: TogetherBench, tmp_path: Path) -> None:
    good = {"prompt": [{"role": "user", "content": "2"}], "completion": [{"role": "assistant", "content": "4"}]}
    bad = {**good, "prompt": [{"role": "user", "content": "2"}, {"role": "user", "content": "3"}]}
    bench.bundle = bundle_of([good, good, bad], tmp_path / "bad", bench.plan)

    with pytest.raises(RunRejectedError) as caught:
        bench.staged()

    assert caught.value.message.startswith(f"{bench.bundle.folder / 'train.jsonl'}:3: together refused the rows: ")
    assert "`user` and `assistant` roles must alternate" in caught.value.message


def test_nothing_of_the_rows_is_left_beside_the_bundle(bench: TogetherBench) -> None:
    bench.staged()

    assert [path.name for path in bench.bundle.folder.parent.iterdir() if "together" in path.name] == []


def test_a_file_that_is_being_checked_is_asked_for_and_not_declared_again(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    bench.staged()

    assert emulator.requests[UPLOAD] == 1
    assert emulator.requests["GET /v1/files/{id}"] > 1


def test_a_file_that_was_deleted_over_there_is_sent_again(bench: TogetherBench, service: Service) -> None:
    first = bench.staged()
    service.files.delete("org-tiny-support", first.detail["training_file"])

    second = bench.staged()

    assert second.ready
    assert first.detail != second.detail


def test_two_provider_objects_send_the_same_rows_once(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    first = bench.staged()

    again = bench.provider_at(emulator.url, KEY).stage(bench.plan, bench.bundle)

    assert (again, emulator.requests[PUT]) == (first, 1)


def test_a_batch_above_the_model_s_is_split(bench: TogetherBench, service: Service) -> None:
    method = bench.plan.method.model_copy(update={"batch_size": 2 * MODELS["Qwen/Qwen3-8B"].max_batch})
    bench.plan = bench.plan.model_copy(update={"method": method})

    run = bench.submit()

    order = service.newest(run.key).order
    assert (order.batch_size, order.gradient_accumulation_steps) == (64, 2)


# faults of the upload


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.REFUSED_KEY, CredentialsError),
        (Fault.NO_FUNDS, RunRejectedError),
        (Fault.RATE_LIMITED, RateLimitedError),
        (Fault.ERROR, ProviderUnavailableError),
        (Fault.UNAVAILABLE_AFTER, ProviderUnavailableError),
        (Fault.DROP_BEFORE, ProviderUnavailableError),
        (Fault.DROP_AFTER, ProviderUnavailableError),
        (Fault.GARBAGE, ProviderProtocolError),
    ],
)
def test_an_upload_that_fails_says_how_and_can_be_repeated(
    bench: TogetherBench, emulator: TogetherEmulator, fault: Fault, error: type[FtorchError]
) -> None:
    emulator.script(UPLOAD, fault, value="7" if fault is Fault.RATE_LIMITED else "")

    with pytest.raises(error) as caught:
        bench.provider.stage(bench.plan, bench.bundle)

    assert KEY not in f"{caught.value} {caught.value.hint}"
    assert "free trial" not in caught.value.message
    assert bench.staged().ready


@pytest.mark.parametrize("route", [PUT, "POST /v1/files/{id}/preprocess", "GET /v1/files/{id}"])
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.UNAVAILABLE_AFTER])
def test_an_upload_that_is_cut_at_any_step_can_be_repeated(
    bench: TogetherBench, emulator: TogetherEmulator, route: str, fault: Fault
) -> None:
    emulator.script(route, fault, times=3)

    for _ in range(4):
        try:
            bench.provider.stage(bench.plan, bench.bundle)
        except ProviderUnavailableError:
            continue
    assert bench.staged().ready


def test_an_answer_of_another_shape_is_none_of_the_sdk_s_errors(
    bench: TogetherBench, emulator: TogetherEmulator
) -> None:
    emulator.script("POST /v1/files/{id}/preprocess", Fault.GARBAGE)

    with pytest.raises(ProviderProtocolError, match=r"the upload of support-train\.jsonl to together failed"):
        bench.provider.stage(bench.plan, bench.bundle)

    assert bench.staged().ready


def test_storage_that_refuses_is_not_a_wrong_key(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    emulator.script(PUT, Fault.REFUSED_KEY)

    with pytest.raises(ProviderUnavailableError, match="storage"):
        bench.provider.stage(bench.plan, bench.bundle)


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
