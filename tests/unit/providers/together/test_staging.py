"""Before a job: whose account it is, limits, rows on their way. What goes wrong is named; nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.together_bench import TogetherBench, bundle_of, qwen, write_rows
from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
)
from ftorch.emulators.server import Fault
from ftorch.emulators.together import KEY, Service, TogetherEmulator
from ftorch.emulators.together.models import MODELS
from ftorch.jobs.bundle import make_bundle
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import BaseModelRef, Lora, Tracking
from ftorch.providers.http import Http
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

    with pytest.raises(
        ProviderProtocolError, match=r"the upload of support-[0-9a-f]{64}-train\.jsonl to together failed"
    ):
        bench.provider.stage(bench.plan, bench.bundle)

    assert bench.staged().ready


def test_storage_that_refuses_is_not_a_wrong_key(bench: TogetherBench, emulator: TogetherEmulator) -> None:
    emulator.script(PUT, Fault.REFUSED_KEY)

    with pytest.raises(ProviderUnavailableError, match="storage"):
        bench.provider.stage(bench.plan, bench.bundle)
