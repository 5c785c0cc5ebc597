"""A job from its creation to its download, its price on the way, and what can be done to it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ftorch.emulators.server import Fault
from ftorch.emulators.together import COLLEAGUE_KEY, OTHER_KEY
from ftorch.emulators.together.jobs import CANCEL_S, QUEUE_S, TOKENISE_S, WORK_S
from ftorch.emulators.together.models import TARIFF, price
from ftorch.emulators.together.strangers import add_strangers
from unit.emulators.desk import WHOLE_S, Desk, preferences

_SFT_RATE, _DPO_RATE = Decimal("0.48"), Decimal("1.20")


def test_a_job_takes_its_course(desk: Desk) -> None:
    job = desk.create(suffix="ft-a", n_epochs=2)
    seen = []

    for _ in range(WHOLE_S + 1):
        status = desk.record(job)["status"]
        seen += [status] if status not in seen else []
        desk.clock.advance(1)

    assert seen == ["pending", "queued", "running", "compressing", "uploading", "completed"]
    assert desk.events(job) == [
        "job_pending",
        "job_start",
        "model_downloading",
        "model_download_complete",
        "training_data_downloading",
        "training_data_download_complete",
        "tokenized_dataset_upload_complete",
        "training_start",
        "epoch_complete",
        "epoch_complete",
        "training_complete",
        "model_compressing",
        "model_compression_complete",
        "model_uploading",
        "model_upload_complete",
        "job_complete",
    ]


def test_the_price_is_known_once_the_rows_are_tokens(desk: Desk) -> None:
    job = desk.create(n_epochs=3)

    desk.clock.advance(QUEUE_S + TOKENISE_S - 1)
    before = desk.record(job)
    desk.clock.advance(1)
    after = desk.record(job)

    assert "total_price" not in before
    assert "token_count" not in before
    assert after["token_count"] == 3 * 40 * 14
    assert after["total_price"] == 4_000_000_000


def test_a_large_job_costs_its_tokens_in_nano_dollars(desk: Desk) -> None:
    job = desk.create(n_epochs=20, packing=False, max_seq_length=32_768)
    desk.finish(job)

    record = desk.record(job)

    assert record["token_count"] == 20 * 40 * 32_768
    assert record["total_price"] == int(price(record["token_count"], _SFT_RATE).scaleb(9))
    assert desk.emulator.service.truth(job) == Decimal(record["total_price"]).scaleb(-9)


def test_preferences_have_their_own_price(desk: Desk) -> None:
    job = desk.create(
        preferences(),
        training_method={"method": "dpo", "dpo_beta": 0.1},
        packing=False,
        max_seq_length=16_384,
        n_epochs=10,
    )
    desk.finish(job)

    assert desk.record(job)["total_price"] == int(price(10 * 40 * 16_384, _DPO_RATE).scaleb(9))


def test_the_list_has_the_suffix_and_the_full_record_has_not(desk: Desk) -> None:
    job = desk.create(suffix="ft-a", random_seed=7)
    desk.finish(job)

    (listed,) = desk.get("/v1/fine-tunes")["data"]
    record = desk.record(job)

    assert (listed["suffix"], listed["random_seed"], listed["total_price"]) == ("ft-a", 7, 4_000_000_000)
    assert (listed["events"], "suffix" in record) == ([], False)
    assert record["model_output_name"].startswith("support/Qwen3-8B-ft-a-")


def test_the_list_holds_the_whole_organisation_and_nobody_else(desk: Desk) -> None:
    ours = desk.create(suffix="ft-a")
    strangers = add_strangers(desk.emulator.service)

    listed = {job["id"] for job in desk.as_(COLLEAGUE_KEY).get("/v1/fine-tunes")["data"]}

    assert listed == {ours.id, *(job.id for job in strangers)}
    assert desk.as_(OTHER_KEY).get("/v1/fine-tunes") == {"data": []}
    assert desk.as_(OTHER_KEY).ask("GET", f"/v1/fine-tunes/{ours.id}").status_code == 404


def test_the_same_order_again_makes_a_second_job(desk: Desk) -> None:
    first, second = desk.create(suffix="ft-a"), desk.create(suffix="ft-a")

    assert first.id != second.id
    assert desk.emulator.service.creates["ft-a"] == 2
    assert desk.emulator.service.newest("ft-a") is second


def test_a_new_job_may_be_listed_late_and_found_by_its_id_at_once(desk: Desk) -> None:
    desk.emulator.service.listing_lag_s = 10
    job = desk.create(suffix="ft-a")

    assert desk.get("/v1/fine-tunes") == {"data": []}
    assert desk.record(job)["id"] == job.id
    desk.clock.advance(10)
    assert [one["id"] for one in desk.get("/v1/fine-tunes")["data"]] == [job.id]


def test_a_cancelled_job_pays_for_the_steps_that_it_did(desk: Desk) -> None:
    job = desk.create(n_epochs=3)
    desk.clock.advance(QUEUE_S + TOKENISE_S + WORK_S / 2)

    answered = desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel").json()["status"]
    again = desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel").json()["status"]
    whole = desk.record(job)["total_price"]
    desk.clock.advance(CANCEL_S)
    record = desk.record(job)

    assert (answered, again, whole) == ("cancel_requested", "cancel_requested", 4_000_000_000)
    assert record["status"] == "cancelled"
    assert record["token_count"] == 3 * 40 * 14 * 7 // 15
    assert record["total_price"] == record["token_count"] * 480
    assert desk.events(job)[-3:] == ["cancel_requested", "refund", "job_stopped"]


def test_a_job_cancelled_before_its_start_costs_nothing(desk: Desk) -> None:
    job = desk.create()

    desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel")
    desk.clock.advance(WHOLE_S)

    record = desk.record(job)
    assert (record["status"], record["token_count"], record["total_price"]) == ("cancelled", 0, 0)
    assert "refund" not in desk.events(job)


def test_a_job_that_breaks_while_it_is_cancelled_pays_no_more(desk: Desk) -> None:
    job = desk.create(n_epochs=20)
    desk.clock.advance(QUEUE_S + TOKENISE_S + WORK_S / 2)
    desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel")
    cost = desk.emulator.service.truth(job)

    desk.clock.advance(CANCEL_S - 0.001)
    desk.emulator.service.end(job, "error", "a machine was lost")
    desk.clock.advance(WHOLE_S)

    assert desk.record(job)["status"] == "error"
    assert desk.emulator.service.truth(job) == cost


def test_an_ended_job_cannot_be_cancelled_and_can_be_deleted(desk: Desk) -> None:
    job = desk.create()
    assert desk.ask("DELETE", f"/v1/fine-tunes/{job.id}").status_code == 400
    desk.finish(job)

    assert desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel").status_code == 400
    assert desk.ask("DELETE", f"/v1/fine-tunes/{job.id}?force=true").status_code == 200
    assert desk.ask("GET", f"/v1/fine-tunes/{job.id}").status_code == 404


@pytest.mark.parametrize(("status", "event"), [("error", "job_error"), ("user_error", "job_user_error")])
def test_a_job_may_end_early_by_somebodys_fault(desk: Desk, status: Any, event: str) -> None:
    job = desk.create()
    desk.clock.advance(QUEUE_S + TOKENISE_S + WORK_S / 2)

    desk.emulator.service.end(job, status, "the loss is not a number")
    desk.clock.advance(WHOLE_S)

    assert desk.record(job)["status"] == status
    last = desk.get(f"/v1/fine-tunes/{job.id}/events")["data"][-1]
    assert (last["type"], last["level"], last["message"]) == (event, "error", "the loss is not a number")


def test_a_refund_lowers_the_price_later(desk: Desk) -> None:
    job = desk.create()
    desk.finish(job)
    desk.clock.advance(3600)

    desk.emulator.service.refund(job, Decimal("1.50"))

    assert desk.record(job)["total_price"] == 2_500_000_000
    assert desk.emulator.service.truth(job) == Decimal("2.50")
    assert desk.events(job)[-1] == "refund"


def test_a_job_above_the_credit_is_stopped_once_its_price_is_known(desk: Desk) -> None:
    desk.emulator.service.credit_limit = Decimal("3.99")
    job = desk.create()

    desk.clock.advance(WHOLE_S)

    record = desk.record(job)
    assert (record["status"], record["total_price"]) == ("cancelled", 0)
    assert desk.events(job)[-2:] == ["billing_limit", "job_stopped"]


def test_a_job_that_was_cancelled_first_meets_no_billing_limit(desk: Desk) -> None:
    desk.emulator.service.credit_limit = Decimal("3.99")
    job = desk.create()

    desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel")
    desk.clock.advance(WHOLE_S)

    assert desk.events(job) == ["job_pending", "cancel_requested", "job_stopped"]


def test_credit_may_run_out_on_the_way(desk: Desk) -> None:
    job = desk.create()
    desk.clock.advance(QUEUE_S + TOKENISE_S + WORK_S / 2)

    desk.emulator.service.limit_billing(job)

    assert desk.record(job)["status"] == "cancelled"
    assert desk.events(job)[-3:] == ["billing_limit", "refund", "job_stopped"]


def test_an_order_takes_the_prices_of_its_day(desk: Desk) -> None:
    first = desk.create()
    desk.emulator.service.tariff = TARIFF.changed(Decimal("1.01"))
    second = desk.create()
    desk.finish(second)

    assert [desk.record(job)["total_price"] for job in (first, second)] == [4_000_000_000, 4_040_000_000]


def test_a_forgotten_job_is_gone(desk: Desk) -> None:
    job = desk.create(suffix="ft-a")

    desk.emulator.service.forget(job)

    assert desk.ask("GET", f"/v1/fine-tunes/{job.id}").status_code == 404
    assert desk.get("/v1/fine-tunes") == {"data": []}


def test_a_rejection_repeats_what_it_was_given(desk: Desk) -> None:
    desk.emulator.script("POST /v1/fine-tunes", Fault.REJECT)

    answer = desk.ask("POST", "/v1/fine-tunes", json=desk.order(suffix="ft-a", wandb_key="wb-1", hf_api_token="hf-1"))

    assert answer.status_code == 400
    assert all(text in answer.json()["error"]["message"] for text in ("ft-a", "wb-1", "hf-1"))
    assert desk.emulator.service.creates.total() == 0


def test_a_status_that_nobody_documented_reaches_lists_and_records(desk: Desk) -> None:
    job = desk.create()
    for route in ("GET /v1/fine-tunes", "GET /v1/fine-tunes/{id}"):
        desk.emulator.script(route, Fault.UNKNOWN_STATUS)

    assert desk.get("/v1/fine-tunes")["data"][0]["status"] == desk.record(job)["status"] == "defragmenting"
    assert desk.record(job)["status"] == "pending"


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [(Fault.UNAVAILABLE_AFTER, 503, 1), (Fault.RATE_LIMITED, 429, 0), (Fault.NO_FUNDS, 402, 0), (Fault.ERROR, 500, 0)],
)
def test_a_create_fails_as_it_is_scripted(desk: Desk, fault: Fault, status: int, made: int) -> None:
    order = desk.order(suffix="ft-a")
    desk.emulator.script("POST /v1/fine-tunes", fault)

    assert desk.ask("POST", "/v1/fine-tunes", json=order).status_code == status
    assert desk.emulator.service.creates["ft-a"] == made
