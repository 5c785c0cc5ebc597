"""`ftorch emulator` where something is missing: it says so before anything is opened."""

from __future__ import annotations

import pytest

from ftorch.cli.app import run
from ftorch.cli.main import _COMMANDS


@pytest.fixture(autouse=True)
def _signals_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.mark.parametrize(("name", "package"), [("lambda", "asyncssh"), ("modal", "modal"), ("together", "zstandard")])
def test_without_its_extra_it_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, package: str
) -> None:
    monkeypatch.setattr("ftorch.cli.emulator.find_spec", lambda wanted: None if wanted == package else object())

    assert run(_COMMANDS, ["emulator", "up", name]) == 2

    assert f"hint: run `pip install -e '.[{name}]'`" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lambda", "together"])
def test_genuine_training_needs_the_trainer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr("ftorch.cli.emulator.find_spec", lambda wanted: None if wanted == "trl" else object())

    assert run(_COMMANDS, ["emulator", "up", name, "--train", "genuine"]) == 2

    assert "hint: run `pip install -e '.[train]'`" in capsys.readouterr().err


def test_lambda_without_a_server_for_ssh_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftorch.emulators.boxes.box.find_sshd", lambda: None)

    assert run(_COMMANDS, ["emulator", "up", "lambda"]) == 2

    assert "hint: run `apt-get install openssh-server`" in capsys.readouterr().err
