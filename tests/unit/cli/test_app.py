from __future__ import annotations

import importlib

import click
import pytest

from ftorch.cli.app import LazyGroup, run
from ftorch.cli.main import _COMMANDS


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    module, _, attribute = _COMMANDS[name][0].partition(":")

    assert isinstance(getattr(importlib.import_module(f"ftorch.cli.{module}"), attribute), click.Command)


def test_the_help_lists_every_command() -> None:
    text = LazyGroup(_COMMANDS).get_help(click.Context(LazyGroup(_COMMANDS)))

    assert all(f"  {name} " in text for name in _COMMANDS)


def test_an_unknown_command_suggests_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(_COMMANDS, ["sumbit"])

    assert code == 2
    assert "did you mean 'submit'?" in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["jobs", "--jsn"]) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_COMMANDS, ["completion", shell]) == 0
    assert "_FTORCH_COMPLETE" in capsys.readouterr().out
