"""Together's published specification, with an overlay, as a judge of recorded traffic."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from e2e.shell import ROOT
from ftorch.emulators.server import Reply, Request
from ftorch.emulators.together import TogetherEmulator

_PATH = ROOT.parent / "shared" / "specs" / "together-openapi.yaml"
_BASE = "/v1"
_URN = "urn:together"
Spec = dict[str, Any]


def published() -> Spec:
    """The specification as it was published."""
    assert _PATH.is_file(), (
        f"{_PATH} is missing: this suite compares with the published specification and does not skip"
    )
    spec: Spec = yaml.load(_PATH.read_text(), Loader=yaml.CSafeLoader)
    assert spec["servers"][0]["url"].endswith(_BASE)
    return spec


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where the service is known to differ from what was published, and how the overlay lets it."""

    name: str
    reason: str
    change: Callable[[Spec], None]


def overlaid(spec: Spec, deviations: Sequence[Deviation]) -> Spec:
    changed = copy.deepcopy(spec)
    for deviation in deviations:
        deviation.change(changed)
    return changed


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, bodies read as JSON where they are."""

    method: str
    path: str
    """With `{id}` for what varies, and without the base of the server."""
    query: Mapping[str, str]
    asked: Any
    status: int
    answered: Any


class Recorder(TogetherEmulator):
    """An emulator that remembers all that it was asked and what it said."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.exchanges: list[Exchange] = []

    def handle(self, request: Request) -> tuple[Reply | None, float]:
        reply, wait_s = super().handle(request)
        if reply is not None:
            method, _, path = request.route.partition(" ")
            path = path.removeprefix(_BASE)
            asked, answered = _json(request.headers, request.body), _json(reply.headers, reply.body)
            self.exchanges.append(Exchange(method, path, request.query, asked, reply.status, answered))
        return reply, wait_s


def _json(headers: Mapping[str, str], body: bytes) -> Any:
    kind = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
    return json.loads(body) if body and kind == "application/json" else None


class Judge:
    """Says what in an exchange the specification does not know or does not allow."""

    def __init__(self, spec: Spec) -> None:
        self._paths: Mapping[str, Any] = spec["paths"]
        resource: Resource[Any] = Resource.from_contents(spec, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URN, resource)

    def complaints(self, exchange: Exchange) -> Iterator[str]:
        where = f"{exchange.method} {exchange.path}"
        operation = self._paths.get(exchange.path, {}).get(exchange.method.lower())
        if operation is None:
            yield f"{where}: no such route"
            return
        yield from (f"{where}: {words}" for words in self._about_the_question(exchange, operation))
        yield from (f"{where} -> {exchange.status}: {words}" for words in self._about_the_answer(exchange, operation))

    def _about_the_question(self, exchange: Exchange, operation: Any) -> Iterator[str]:
        declared = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}
        yield from (f"no parameter {name}" for name in exchange.query if name not in declared)
        for name, parameter in declared.items():
            if name in exchange.query:
                yield from self._faults(_typed(exchange.query[name], parameter["schema"]), parameter["schema"])
            elif parameter.get("required"):
                yield f"parameter {name} is missing"
        if exchange.asked is not None:
            content = operation.get("requestBody", {}).get("content", {})
            yield from self._against(exchange.asked, content)

    def _about_the_answer(self, exchange: Exchange, operation: Any) -> Iterator[str]:
        answers = operation["responses"]
        answer = answers.get(str(exchange.status), answers.get(f"{exchange.status // 100}XX"))
        if answer is None:
            yield "no such status"
        elif exchange.answered is not None:
            yield from self._against(exchange.answered, answer.get("content", {}))

    def _against(self, value: Any, content: Any) -> Iterator[str]:
        if "application/json" not in content:
            yield "no JSON is expected here"
            return
        yield from self._faults(value, content["application/json"]["schema"])

    def _faults(self, value: Any, schema: Any) -> Iterator[str]:
        here = {**schema, "$ref": f"{_URN}{schema['$ref']}"} if "$ref" in schema else _absolute(schema)
        for error in Draft202012Validator(here, registry=self._registry).iter_errors(value):
            yield f"{error.json_path}: {error.message[:200]}"


def _absolute(schema: Any) -> Any:
    """The schema with references that can be followed from outside its document."""
    if isinstance(schema, dict):
        return {key: f"{_URN}{one}" if key == "$ref" else _absolute(one) for key, one in schema.items()}
    if isinstance(schema, list):
        return [_absolute(one) for one in schema]
    return schema


def _typed(text: str, schema: Any) -> Any:
    """A parameter as its schema has it: a query is all text."""
    match schema.get("type"):
        case "integer" if text.lstrip("-").isdigit():
            return int(text)
        case "boolean" if text in ("true", "false"):
            return text == "true"
        case _:
            return text
