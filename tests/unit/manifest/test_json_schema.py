from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from ftorch.manifest.json_schema import manifest_schema, settings_schema
from unit.manifest.test_load import FULL, GOOD
from unit.manifest.test_settings import FULL as FULL_SETTINGS

SCHEMAS = [manifest_schema, settings_schema]


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in (schema, *schema["$defs"].values()):
        for key, field in model.get("properties", {}).items():
            yield f"{model['title']}.{key}", field


def is_valid(schema: dict[str, Any], value: object) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_a_schema_and_has_a_name_of_its_own(schema: Callable[[], dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())

    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema()["$id"].startswith("urn:ftorch:")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_described(schema: Callable[[], dict[str, Any]]) -> None:
    assert [key for key, field in fields(schema()) if not field.get("description")] == []


def test_the_schemas_are_the_same_to_the_byte_in_every_process() -> None:
    program = "from ftorch.manifest import json_schema as made; print(made.manifest_schema(), made.settings_schema())"

    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        FULL,
        GOOD.replace("{name: local}", "local"),
        GOOD.replace("{name: local}", "[together, modal]"),
        GOOD.replace("Qwen/Qwen3-8B", "{id: Qwen/Qwen3-8B}"),
        GOOD + "resources: {gpu: H100}\n",
    ],
)
def test_what_the_loader_takes_an_editor_takes_too(text: str) -> None:
    assert is_valid(manifest_schema(), yaml.safe_load(text))


@pytest.mark.parametrize(
    "text", [GOOD + "lora_r: 8\n", GOOD + "budget: {limit: 25}\n", GOOD.replace("{type: sft}", "{type: rlhf}")]
)
def test_what_the_loader_refuses_an_editor_refuses_too(text: str) -> None:
    assert not is_valid(manifest_schema(), yaml.safe_load(text))


def test_the_full_settings_are_valid() -> None:
    assert is_valid(settings_schema(), tomllib.loads(FULL_SETTINGS))
