"""All that the SDK and we ask, and all that the emulator answers, by Together's published specification.

The specification is of April 2026 and contradicts itself and the SDK in places. Each place is a named deviation with
its reason; one that is no longer needed turns a test red.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from ftorch.core.clock import ManualClock
from ftorch.emulators.together import KEY
from oracle.together_drive import MODEL, drive
from oracle.together_spec import Deviation, Exchange, Judge, Recorder, Spec, overlaid, published

_ANY: Mapping[str, Any] = {"content": {"application/json": {"schema": {}}}}
_FILE: Mapping[str, Any] = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/FileResponse"}}}}
_ERROR: Mapping[str, Any] = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorData"}}}}


def _route(path: str, method: str, answers: Mapping[str, Any], query: Sequence[str] = ()) -> Callable[[Spec], None]:
    parameters = [{"name": name, "in": "query", "schema": {}} for name in query]

    def add(spec: Spec) -> None:
        spec["paths"].setdefault(path, {})[method] = {"parameters": parameters, "responses": dict(answers)}

    return add


def _schema(spec: Spec, name: str) -> Any:
    return spec["components"]["schemas"][name]


def _let_train_on_inputs_be_auto(spec: Spec) -> None:
    del _schema(spec, "TrainingMethodSFT")["properties"]["train_on_inputs"]["type"]


def _let_a_cosine_be_a_cosine(spec: Spec) -> None:
    arguments = _schema(spec, "LRScheduler")["properties"]["lr_scheduler_args"]
    arguments["anyOf"] = arguments.pop("oneOf")


def _let_nullable_mean_null(value: Any) -> None:
    """Everywhere in the document, inner schemas first."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _let_nullable_mean_null(inner)
    if isinstance(value, dict) and value.get("nullable") is True:
        kept = dict(value, nullable=False)
        value.clear()
        value["anyOf"] = [{"type": "null"}, kept]


def _let_metrics_be_filtered(spec: Spec) -> None:
    names = ("global_step_from", "global_step_to", "logged_at_from", "logged_at_to", "resolution")
    spec["paths"]["/fine-tunes/{id}/metrics"]["get"]["parameters"] += [
        {"name": name, "in": "query", "schema": {}} for name in names
    ]


def _let_downloads_be_partial(spec: Spec) -> None:
    spec["paths"]["/finetune/download"]["get"]["responses"]["206"] = {}


def _let_routes_refuse(spec: Spec) -> None:
    for path in spec["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("4XX", _ERROR)
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    answer.setdefault("content", _ERROR["content"])


DEVIATIONS = (
    Deviation(
        "upload in three steps: declared",
        "the SDK posts to /files and follows its 302; the specification only has /files/upload, one request",
        _route("/files", "post", {"302": {}, "409": _ANY}),
    ),
    Deviation(
        "upload in three steps: put",
        "the content goes to an address that the service made up for it",
        _route("/upload/{id}", "put", {"200": {}}, ["signature"]),
    ),
    Deviation(
        "upload in three steps: handed over",
        "the SDK calls preprocess and reads a file from its answer",
        _route("/files/{id}/preprocess", "post", {"200": _FILE}),
    ),
    Deviation(
        "billing usage",
        "in the SDK and the documentation, in beta, younger than the specification",
        _route(
            "/billing/usage",
            "get",
            {"200": _ANY},
            ["month", "granularity", "limit", "after", "organization_id"],
        ),
    ),
    Deviation("whoami", "only in the SDK, which shows its shape", _route("/v3/whoami", "get", {"200": _ANY})),
    Deviation(
        "train_on_inputs is auto",
        "the schema says boolean and, beside it, boolean or auto: the SDK sends auto",
        _let_train_on_inputs_be_auto,
    ),
    Deviation(
        "a cosine schedule",
        "the arguments of a cosine are also good arguments of a linear schedule, and only one may fit",
        _let_a_cosine_be_a_cosine,
    ),
    Deviation(
        "nullable",
        "a word of OpenAPI 3.0 that means nothing in 3.1: the SDK sends null for a training type, errors have it too",
        _let_nullable_mean_null,
    ),
    Deviation(
        "metrics are filtered by query",
        "the specification puts the filters into the body of a GET; the SDK sends them as a query, and resolution too",
        _let_metrics_be_filtered,
    ),
    Deviation(
        "an archive of the tokenised rows",
        "an event that the SDK's types know",
        lambda spec: _schema(spec, "FinetuneEventType")["enum"].append("tokenized_dataset_upload_complete"),
    ),
    Deviation(
        "an evaluation is an event",
        "in the part of the SDK that people wrote, not in what was generated",
        lambda spec: _schema(spec, "FinetuneEventType")["enum"].append("eval_complete"),
    ),
    Deviation(
        "the user's own error, as an event",
        "in the part of the SDK that people wrote, not in what was generated",
        lambda spec: _schema(spec, "FinetuneEventType")["enum"].append("job_user_error"),
    ),
    Deviation(
        "the user's own error, as a status",
        "a terminal status of the SDK's own enumeration and of its command line",
        lambda spec: _schema(spec, "FinetuneJobStatus")["enum"].append("user_error"),
    ),
    Deviation("a part of an archive", "the SDK asks for ranges and reads Content-Range", _let_downloads_be_partial),
    Deviation(
        "refusals",
        "few routes say what they answer when they refuse, and with which body; the SDK reads one error from all",
        _let_routes_refuse,
    ),
)


@pytest.fixture(scope="module")
def spec() -> Spec:
    return published()


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Exchange]:
    """A drive by the SDK, and what it does not ask for."""
    clock = ManualClock()
    with Recorder(clock) as emulator:
        drive(emulator, clock, tmp_path_factory.mktemp("files"))
        _ask_for_the_rest(emulator, clock)
        assert emulator.violations == []
        return list(emulator.exchanges)


def _ask_for_the_rest(emulator: Recorder, clock: ManualClock) -> None:
    """Ranges, refusals, a user's error, and routes that the SDK has no method for."""
    with httpx.Client(base_url=emulator.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        job = emulator.service.newest("ft-sft")
        file_id = job.order.training_file
        order = {"training_file": file_id, "model": MODEL, "suffix": "ft-wrong", "batch_size": 8}
        evaluated = {"validation_file": file_id, "n_evals": 4}
        created = client.post("/v1/fine-tunes", json={**order, **evaluated}).json()
        clock.advance(60)
        emulator.service.end(emulator.service.newest("ft-wrong"), "user_error", "the loss is not a number")
        client.get(f"/v1/fine-tunes/{created['id']}")
        client.get("/v1/fine-tunes/models/supported")
        client.get("/v1/fine-tunes/models/limits", params={"model_name": "HuggingFaceTB/SmolLM2-135M-Instruct"})
        client.get("/v1/fine-tunes/ft-unknown")
        client.post(f"/v1/fine-tunes/{job.id}/cancel")
        archive = {"ft_id": job.id, "checkpoint": "adapter"}
        client.get("/v1/finetune/download", params=archive, headers={"Range": "bytes=0-9"})
        client.get("/v1/finetune/download", params={**archive, "checkpoint": "merged"})


def complaints(spec: Spec, exchanges: Sequence[Exchange]) -> list[str]:
    judge = Judge(spec)
    return sorted({words for exchange in exchanges for words in judge.complaints(exchange)})


def test_the_traffic_keeps_to_the_published_specification(spec: Spec, exchanges: Sequence[Exchange]) -> None:
    assert complaints(overlaid(spec, DEVIATIONS), exchanges) == []


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_every_deviation_is_still_needed(spec: Spec, exchanges: Sequence[Exchange], deviation: Deviation) -> None:
    others = [one for one in DEVIATIONS if one is not deviation]

    assert complaints(overlaid(spec, others), exchanges), f"{deviation.name}: nothing needs it ({deviation.reason})"


def test_the_drive_asks_for_every_route_of_fine_tuning(spec: Spec, exchanges: Sequence[Exchange]) -> None:
    asked = {(exchange.method.lower(), exchange.path) for exchange in exchanges}
    published_routes = {
        (method, path)
        for path, operations in spec["paths"].items()
        for method in operations
        if path.startswith(("/fine-tunes", "/finetune", "/files")) and method in ("get", "post", "delete")
    }

    # The upload in one request is what the SDK no longer does, and what this emulator has not.
    assert published_routes - asked == {("post", "/files/upload")}


def test_an_answer_that_breaks_the_specification_is_seen(spec: Spec, exchanges: Sequence[Exchange]) -> None:
    judge = Judge(overlaid(spec, DEVIATIONS))
    record = next(
        one for one in exchanges if (one.method, one.path) == ("GET", "/fine-tunes/{id}") and one.status == 200
    )
    spoilt = Exchange(**{**_fields(record), "answered": {**record.answered, "total_price": "4.00"}})

    assert [words for words in judge.complaints(spoilt) if "total_price" in words]


def _fields(exchange: Exchange) -> dict[str, Any]:
    return {name: getattr(exchange, name) for name in Exchange.__slots__}
