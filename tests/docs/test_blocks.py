"""Every block of the documentation is run or read: a page cannot say what does not work."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from ftorch.cli.app import LazyGroup
from ftorch.cli.main import _COMMANDS
from ftorch.manifest.invoice import Mapped
from ftorch.manifest.load import parse_manifest
from ftorch.manifest.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"^([a-z-]+):", re.MULTILINE)


def blocks(kind: str) -> list[tuple[str, str]]:
    found = [
        (page.relative_to(ROOT).as_posix(), text)
        for page in PAGES
        for language, text in _BLOCK.findall(page.read_text())
        if language == kind
    ]
    assert found, kind
    return found


def commands() -> list[tuple[str, str]]:
    return [
        (page, line.removeprefix("$ ").partition(" #")[0].strip())
        for page, text in blocks("console")
        for line in text.splitlines()
        if line.startswith("$ ")
    ]


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_a_manifest_in_the_documentation_loads(page: str, text: str) -> None:
    assert parse_manifest(text, page).version == 1


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_settings_and_mappings_in_the_documentation_load(page: str, text: str) -> None:
    values = tomllib.loads(text)
    model = Mapped if "columns" in values else Settings
    assert model.model_validate(values) is not None


@pytest.mark.parametrize(("page", "text"), blocks("json"))
def test_rows_in_the_documentation_are_json(page: str, text: str) -> None:
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_in_the_documentation_is_python(page: str, text: str) -> None:
    assert ast.parse(text) is not None


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_in_the_documentation_exists_with_its_options(page: str, line: str) -> None:
    program, *words = shlex.split(line)

    if program == "make":
        assert set(words) <= set(_MAKE.findall((ROOT / "Makefile").read_text())), line
    else:
        assert program == "ftorch", line
        _check(words)


def _check(words: list[str]) -> None:
    """Walk down the groups; every option must be one of the command's."""
    command: click.Command = LazyGroup(_COMMANDS)
    context = click.Context(command, info_name="ftorch")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, words
