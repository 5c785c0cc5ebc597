"""The four forms of a log, each as one function from a line's object to its calls.

openai     requests and responses as OpenAI-compatible APIs have them, bare responses, and lines of batch output
litellm    rows of `LiteLLM_SpendLogs`
otel       OpenTelemetry spans with `gen_ai` attributes, flat or as OTLP JSON; both generations of names
langfuse   observations of Langfuse's export; generations count
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ftorch.costs.logs.call import Call, Json, Object, amount, count, first, moment, text

_FAILED_FROM = 400


def openai(row: Object) -> Iterator[Call]:
    answer = first(row, "response.body", "response") or row
    usage = first(answer, "usage") or {}
    status = first(row, "response.status_code", "status_code") or 200
    failed = first(row, "error", "response.error") is not None or status >= _FAILED_FROM
    yield Call(
        at=moment(
            first(answer, "created", "created_at") or first(row, "created", "timestamp", "created_at"), "created"
        ),
        model=text(first(answer, "model") or first(row, "request.model", "body.model"), "model"),
        input_tokens=0 if failed else count(first(usage, "prompt_tokens", "input_tokens"), "usage.prompt_tokens"),
        cached_tokens=count(
            first(usage, "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens") or 0,
            "cached_tokens",
        ),
        output_tokens=0 if failed else count(_written(usage), "usage.completion_tokens"),
        cost=amount(first(row, "cost"), "cost"),
        is_paid=not failed,
    )


def litellm(row: Object) -> Iterator[Call]:
    failed = str(first(row, "status") or "success").lower() in ("failure", "failed", "error")
    yield Call(
        at=moment(first(row, "startTime", "start_time"), "startTime"),
        model=text(first(row, "model", "model_group"), "model"),
        input_tokens=count(first(row, "prompt_tokens"), "prompt_tokens"),
        cached_tokens=count(
            first(
                row,
                "metadata.usage_object.prompt_tokens_details.cached_tokens",
                "metadata.additional_usage_values.prompt_tokens_details.cached_tokens",
            )
            or 0,
            "cached_tokens",
        ),
        output_tokens=count(first(row, "completion_tokens"), "completion_tokens"),
        cost=amount(first(row, "spend"), "spend"),
        is_paid=not failed and str(first(row, "cache_hit")).lower() != "true",
    )


def otel(row: Object) -> Iterator[Call]:
    for span in _spans(row):
        known = _attributes(span.get("attributes"))
        tokens = _one(known, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
        if tokens is None and _one(known, "gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name") is None:
            continue  # a span of something else
        failed = _one(known, "error.type") is not None or first(span, "status.code") in (
            2,
            "STATUS_CODE_ERROR",
            "ERROR",
        )
        start = first(span, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "timestamp")
        yield Call(
            at=moment(start, "start time"),
            model=text(_one(known, "gen_ai.response.model", "gen_ai.request.model"), "gen_ai.request.model"),
            input_tokens=0 if failed else count(tokens, "gen_ai.usage.input_tokens"),
            cached_tokens=count(_one(known, "gen_ai.usage.cache_read.input_tokens") or 0, "cached tokens"),
            output_tokens=0
            if failed
            else count(
                _one(known, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
                "gen_ai.usage.output_tokens",
            ),
            cost=None,
            is_paid=not failed,
        )


def langfuse(row: Object) -> Iterator[Call]:
    if str(first(row, "type") or "GENERATION").upper() != "GENERATION":
        return
    usage = first(row, "usageDetails", "usage_details", "usage") or {}
    cached = first(usage, "input_cached_tokens", "cache_read_input_tokens") or 0
    failed = str(first(row, "level") or "").upper() == "ERROR"
    # Langfuse takes cached tokens out of `input`.
    read = 0 if failed else count(first(usage, "input", "promptTokens"), "usage.input") + count(cached, "cached tokens")
    yield Call(
        at=moment(first(row, "startTime", "start_time"), "start time"),
        model=text(first(row, "model", "providedModelName", "provided_model_name"), "model"),
        input_tokens=read,
        cached_tokens=count(cached, "cached tokens"),
        output_tokens=0 if failed else count(first(usage, "output", "completionTokens"), "usage.output"),
        cost=amount(first(row, "costDetails.total", "cost_details.total", "totalCost", "calculatedTotalCost"), "cost"),
        is_paid=not failed,
    )


FORMATS: Mapping[str, Callable[[Object], Iterator[Call]]] = {
    "openai": openai,
    "litellm": litellm,
    "otel": otel,
    "langfuse": langfuse,
}

_MARKS: Mapping[str, tuple[str, ...]] = {
    "litellm": ("spend",),
    "otel": ("resourceSpans", "attributes"),
    "langfuse": (
        "usageDetails",
        "usage_details",
        "costDetails",
        "cost_details",
        "providedModelName",
        "provided_model_name",
    ),
    "openai": ("usage", "response", "choices"),
}
"""Top-level keys that only this form has, in the order in which they are looked for."""


def detect(row: Object) -> str | None:
    """Which form a line has; None where it has none of them."""
    return next((name for name, marks in _MARKS.items() if any(mark in row for mark in marks)), None)


def _written(usage: Object) -> Json:
    """An embedding writes nothing, and its usage does not say so."""
    found = first(usage, "completion_tokens", "output_tokens")
    return 0 if found is None and "prompt_tokens" in usage else found


def _spans(row: Object) -> Iterator[Object]:
    if "resourceSpans" not in row:
        yield row
        return
    for resource in row["resourceSpans"]:
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def _attributes(value: Json) -> dict[str, Json]:
    """As a mapping; OTLP writes a list of {key, value: {stringValue | intValue | ...}}."""
    if isinstance(value, Mapping):
        return dict(value)
    return {one["key"]: next(iter(one["value"].values()), None) for one in value or () if one.get("value")}


def _one(known: Mapping[str, Json], *names: str) -> Json:
    return next((known[name] for name in names if known.get(name) is not None), None)
