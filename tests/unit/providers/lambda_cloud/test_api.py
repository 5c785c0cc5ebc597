"""Lambda's answers, one by one: which error each code is, and what is never kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    NoCapacityError,
    RateLimitedError,
    RunNotFoundError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.paths import Home
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud.api import Api, Launch, Tag
from ftorch.providers.lambda_cloud.pace import Pacer

ORDER = Launch(
    region_name="us-east-1",
    instance_type_name="gpu_1x_a10",
    ssh_key_names=("k",),
    name="ft-abc123-x",
    user_data="#cloud-config\n{}",
    tags=(Tag(key="ftorch-sent", value="m"),),
)
REGION = {"name": "us-east-1", "description": "Virginia"}
TYPE = {"name": "gpu_1x_a10", "price_cents_per_hour": 129, "specs": {"gpus": 1}}


def instance(**changes: Any) -> dict[str, Any]:
    return {"id": "i1", "status": "active", "name": "ft", "region": REGION, "instance_type": TYPE, **changes}


def api(folder: Path, answer: Callable[[httpx.Request], httpx.Response]) -> Api:
    clock = ManualClock()
    client = httpx.Client(transport=httpx.MockTransport(lambda request: _unread(answer(request))))
    http = Http("lambda", "https://lambda.example/api/v1", clock=clock, key="secret-key", client=client)
    return Api(http, Pacer(Home(folder), clock, request_s=0, launch_s=0))


def _unread(response: httpx.Response) -> httpx.Response:
    """As it comes from the wire: nobody has read its body."""
    return httpx.Response(response.status_code, stream=httpx.ByteStream(response.content))


def says(status: int, code: str, words: str = "no") -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json={"error": {"code": code, "message": words}})


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "instance-operations/launch/insufficient-capacity", NoCapacityError),
        (400, "global/quota-exceeded", RunRejectedError),
        (400, "global/invalid-parameters", RunRejectedError),
        (400, "instance-operations/launch/file-system-in-wrong-region", RunRejectedError),
        (404, "global/object-does-not-exist", RunRejectedError),
        (401, "global/invalid-api-key", CredentialsError),
        (403, "global/account-inactive", CredentialsError),
        (403, "global/invalid-address", CredentialsError),
        (429, "global/rate-limited", RateLimitedError),
        (500, "global/internal-error", SubmitUnknownError),
        (503, "provider/internal-unavailable", SubmitUnknownError),
    ],
)
def test_a_launch_that_fails_says_what_that_proves(
    tmp_path: Path, status: int, code: str, error: type[FtorchError]
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return says(status, code)(request)

    later = ManualClock().now() + timedelta(seconds=30)
    with pytest.raises(error):
        api(tmp_path, answer).launch(ORDER, send_before=later, hidden=())

    assert len(asked) == 1
    assert "quantity" not in json.loads(asked[0].content)


def test_a_launch_without_an_id_in_its_answer_is_looked_for(tmp_path: Path) -> None:
    later = ManualClock().now() + timedelta(seconds=30)
    empty = httpx.Response(200, json={"data": {"instance_ids": []}})

    with pytest.raises(SubmitUnknownError):
        api(tmp_path, lambda _: empty).launch(ORDER, send_before=later, hidden=())


def test_all_pages_of_machines_are_read(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "page_token" in request.url.params:
            return httpx.Response(200, json={"data": [instance(id="i2")], "page_token": None})
        return httpx.Response(200, json={"data": [instance()], "page_token": "p2"})

    assert [one.id for one in api(tmp_path, answer).instances("find")] == ["i1", "i2"]


def test_tokens_and_unknown_fields_are_not_kept_and_unknown_words_are(tmp_path: Path) -> None:
    told = instance(status="hibernating", jupyter_token="secret", jupyter_url="https://x?token=secret", new={"a": 1})

    (one,) = api(tmp_path, lambda _: httpx.Response(200, json={"data": [told]})).instances("observe")

    assert one.status == "hibernating"
    assert "secret" not in repr(one)


@pytest.mark.parametrize("status_code", [(404, "global/object-does-not-exist"), (400, "global/unknown")])
def test_a_machine_that_is_ending_already_is_no_failure(tmp_path: Path, status_code: tuple[int, str]) -> None:
    assert api(tmp_path, says(*status_code)).terminate("i1", "release") is None


def test_a_machine_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        api(tmp_path, says(404, "global/object-does-not-exist")).instance("i1", "observe")


EVENT = {"action": "terminate", "event_time": "2026-11-01T12:00:00Z", "resource_lrns": ["lrn:i1"]}


@pytest.mark.parametrize(
    "pages",
    [
        [{"data": {"events": [EVENT], "page_token": "p"}}, {"data": {"events": [EVENT], "page_token": None}}],
        [{"data": [EVENT], "page_token": "p"}, {"data": [EVENT], "page_token": None}],
    ],
    ids=["client 2.4.1", "document 1.10"],
)
def test_the_audit_log_is_read_in_both_its_shapes(tmp_path: Path, pages: list[dict[str, Any]]) -> None:
    waiting = iter(pages)
    now = ManualClock().now()

    found = api(tmp_path, lambda _: httpx.Response(200, json=next(waiting))).events(now, now, "charges")

    assert [event.resource_lrns for event in found] == [("lrn:i1",), ("lrn:i1",)]
