"""Uploads, models, estimates, and who may ask for what."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ftorch.emulators.together import COLLEAGUE_KEY, KEY, ORGANISATION, OTHER_KEY, OTHER_ORGANISATION
from ftorch.emulators.together.models import MODELS, TARIFF
from unit.emulators.desk import LORA, MODEL, Desk, chats, jsonl, preferences

_CONTENT = jsonl(chats(4))


def test_an_upload_is_put_somewhere_else_without_the_key(desk: Desk) -> None:
    declared = desk.declare(_CONTENT)

    assert declared.status_code == 302
    assert declared.headers["location"].startswith(desk.emulator.url)
    assert desk.ask("PUT", declared.headers["location"].removeprefix(desk.emulator.url)).status_code == 400
    assert [violation.partition(":")[0] for violation in desk.emulator.violations] == ["PUT /upload/{id}"]
    desk.emulator.violations.clear()


def test_the_same_content_is_not_taken_twice_in_one_organisation(desk: Desk) -> None:
    file_id = desk.upload(_CONTENT)

    again = desk.as_(COLLEAGUE_KEY).declare(_CONTENT, name="other.jsonl")

    assert (again.status_code, again.json()["file_id"]) == (409, file_id)
    assert desk.as_(OTHER_KEY).declare(_CONTENT).status_code == 302


def test_an_upload_that_was_not_finished_can_be_made_again(desk: Desk) -> None:
    half = desk.declare(_CONTENT)
    desk.http.put(half.headers["location"], content=_CONTENT)

    again = desk.declare(_CONTENT)

    assert again.status_code == 302
    assert again.headers["x-together-file-id"] != half.headers["x-together-file-id"]
    assert desk.get("/v1/files") == {"data": []}


def test_content_that_is_not_what_was_declared_fails_its_check(desk: Desk) -> None:
    file_id = desk.send(desk.declare(_CONTENT), _CONTENT[:-9])
    desk.clock.advance(5)

    assert desk.get(f"/v1/files/{file_id}")["processing_status"] == "FAILED"


def test_a_checked_file_is_listed_read_and_deleted(desk: Desk) -> None:
    file_id = desk.upload(_CONTENT)

    (listed,) = desk.get("/v1/files")["data"]

    assert listed["id"] == file_id
    assert listed["validation_report"] == {
        "valid": True, "dataset_format": "CONVERSATION", "nlines": 4, "file_id": file_id
    }  # fmt: skip
    assert desk.ask("GET", f"/v1/files/{file_id}/content").content == _CONTENT
    assert desk.ask("DELETE", f"/v1/files/{file_id}").json() == {"id": file_id, "deleted": True}
    assert desk.ask("GET", f"/v1/files/{file_id}").status_code == 404


def test_files_for_other_purposes_are_not_checked(desk: Desk) -> None:
    file_id = desk.upload(b"a,b\n1,2\n", name="rows.csv", purpose="eval")

    assert "processing_status" not in desk.get(f"/v1/files/{file_id}")


def test_parquet_and_large_files_are_refused_in_words(desk: Desk) -> None:
    assert desk.declare(b"PAR1", name="rows.parquet").status_code == 501
    assert "5 GB" in desk.ask("POST", "/v1/files/multipart/initiate").json()["error"]["message"]


def test_a_key_that_nobody_knows_is_refused(desk: Desk) -> None:
    answer = desk.as_("tgp_v1_expired").ask("GET", "/v1/fine-tunes")

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_keys_of_one_organisation_share_what_is_there_and_others_do_not(desk: Desk) -> None:
    file_id = desk.upload(_CONTENT)

    assert desk.as_(COLLEAGUE_KEY).get(f"/v1/files/{file_id}")["id"] == file_id
    assert desk.as_(OTHER_KEY).ask("GET", f"/v1/files/{file_id}").status_code == 404
    accounts = {key: desk.as_(key).get("/v3/whoami")["organization"]["id"] for key in (KEY, COLLEAGUE_KEY, OTHER_KEY)}
    assert list(accounts.values()) == [ORGANISATION, ORGANISATION, OTHER_ORGANISATION]


@pytest.mark.parametrize("model", ["HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-8B-FP8", "builtin:tiny"])
def test_a_model_that_cannot_be_tuned_is_refused_with_the_sentence(desk: Desk, model: str) -> None:
    asked = desk.ask("GET", "/v1/fine-tunes/models/limits", params={"model_name": model})
    ordered = desk.ask("POST", "/v1/fine-tunes", json=desk.order(model=model))

    for answer in (asked, ordered):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"Model {model} is not available for fine-tuning."


def test_every_supported_model_has_limits_and_a_price(desk: Desk) -> None:
    models = desk.get("/v1/fine-tunes/models/supported")["models"]

    assert set(models) == set(MODELS)
    for name in models:
        limits = desk.get("/v1/fine-tunes/models/limits", model_name=name)
        assert limits["lora_training"]["default_rank"] <= limits["lora_training"]["max_rank"]
        assert limits["supports_full_training"] == ("full_training" in limits)
        for method in ("sft", "dpo"):
            assert TARIFF.rate(MODELS[name], method) > 0


def test_an_estimate_is_the_tariff_times_the_tokens_in_dollars(desk: Desk) -> None:
    file_id = desk.upload(jsonl(chats(1000)))
    asked = {"training_file": file_id, "model": MODEL, "n_epochs": 20, "training_type": LORA}
    desk.emulator.service.tariff = replace(TARIFF, minimum=Decimal(0))

    found = desk.ask("POST", "/v1/fine-tunes/estimate-price", json=asked).json()

    assert found["estimated_train_token_count"] == 20 * 1000 * 14
    assert found["estimated_total_price"] == 0.1344  # 280,000 tokens at 0.48 USD per million
    assert (found["allowed_to_proceed"], found["user_limit"]) == (True, 100.0)


def test_a_small_job_is_estimated_at_the_minimum_and_a_dear_one_is_not_allowed(desk: Desk) -> None:
    asked = {"training_file": desk.upload(jsonl(preferences(4))), "model": MODEL, "training_method": {"method": "dpo"}}
    desk.emulator.service.credit_limit = TARIFF.minimum / 2

    found = desk.ask("POST", "/v1/fine-tunes/estimate-price", json=asked).json()

    assert (found["estimated_total_price"], found["allowed_to_proceed"]) == (4.0, False)


@pytest.mark.parametrize(
    ("content", "wait_s", "reason"),
    [(_CONTENT, 0, "train_file_not_validated"), (b'{"foo": 1}\n', 5, "train_file_invalid")],
)
def test_there_is_no_estimate_for_a_file_that_has_not_passed(
    desk: Desk, content: bytes, wait_s: float, reason: str
) -> None:
    file_id = desk.send(desk.declare(content), content)
    desk.clock.advance(wait_s)

    found: Any = desk.ask(
        "POST", "/v1/fine-tunes/estimate-price", json={"training_file": file_id, "model": MODEL}
    ).json()

    assert found == {"estimation_available": False, "unavailable_reason": reason}


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/v1/fine-tunes?limit=5", {}),
        ("GET", "/v1/files?purpose=fine-tune", {}),
        ("POST", "/v1/fine-tunes", {"json": {"training_file": "file-1", "model": MODEL, "lora_rank": 8}}),
        ("POST", "/v1/fine-tunes", {"json": {"training_file": "file-1", "model": MODEL, "n_epochs": "3"}}),
        ("POST", "/v1/fine-tunes", {"json": {"training_file": "file-1", "model": MODEL, "suffix": "x" * 41}}),
        ("POST", "/v1/fine-tunes/estimate-price", {"json": {"model": MODEL}}),
        ("POST", "/v1/files", {"json": {"purpose": "fine-tune"}}),
        ("GET", "/v1/billing/usage?page_size=10", {}),
        ("GET", "/v1/fine-tunes/models/limits", {}),
    ],
)
def test_what_no_schema_allows_is_refused_and_remembered(
    desk: Desk, method: str, path: str, more: dict[str, Any]
) -> None:
    answer = desk.ask(method, path, **more)

    assert answer.status_code == 400
    assert len(desk.emulator.violations) == 1
    desk.emulator.violations.clear()


def test_a_refused_body_does_not_show_its_secrets(desk: Desk) -> None:
    order = {"training_file": "file-1", "model": MODEL, "wandb_key": 4711, "hf_api_token": ["hf-secret"]}

    answer = desk.ask("POST", "/v1/fine-tunes", json=order)

    assert "wandb_key" in answer.text
    assert not [text for text in ("4711", "hf-secret") if text in answer.text + str(desk.emulator.violations)]
    desk.emulator.violations.clear()
