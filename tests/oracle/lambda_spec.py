"""The reconstructed description of Lambda's API, as an oracle: answers and bodies held against its schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema

from e2e.shell import ROOT

_PATH = ROOT.parent / "shared" / "specs" / "lambda-openapi.json"
_PREFIX = "/api/v1"


@cache
def spec() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(_PATH.read_text())
    return loaded


def operation(route: str) -> Mapping[str, Any]:
    """The operation behind a route as the emulator names it: `POST /ssh-keys`."""
    method, _, path = route.partition(" ")
    found: Mapping[str, Any] = spec()["paths"][_PREFIX + path][method.lower()]
    return found


def check_answer(route: str, status: int, body: bytes) -> None:
    """Raises ValidationError where the answer is none that the description allows."""
    responses = operation(route)["responses"]
    _check(responses[str(status)]["content"]["application/json"]["schema"], json.loads(body))


def check_body(route: str, body: bytes) -> None:
    """Raises ValidationError where the body is none that the description allows; a bare route has none."""
    described = operation(route).get("requestBody")
    if described is None:
        assert body in (b"", b"{}"), f"{route} takes no body"
        return
    _check(described["content"]["application/json"]["schema"], json.loads(body))


def _check(schema: Mapping[str, Any], value: object) -> None:
    whole = {**schema, "components": spec()["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)
