"""What `ftorch submit` says about what goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.shell import MANIFEST, colours, write_rows
from ftorch.cli.app import run
from ftorch.cli.main import _COMMANDS
from ftorch.client import Client
from ftorch.core.clock import ManualClock
from ftorch.providers import registry
from sample.emulator import KEY, AcmeEmulator
from sample.settings import KEY_VARIABLE, URL_VARIABLE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with rows, in which acme is a provider and no daemon comes."""
    monkeypatch.setattr(registry, "OURS", {**registry.OURS, "acme": registry.Entry("sample.provider:AcmeProvider")})
    monkeypatch.setattr(Client, "ensure_daemon", lambda _client, **_: False)
    monkeypatch.setenv("FTORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", colours())
    (tmp_path / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    with AcmeEmulator(ManualClock()) as acme:
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        monkeypatch.setenv(URL_VARIABLE, acme.url)
        yield tmp_path


def said(folder: Path, provider: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    (folder / "job.yaml").write_text(MANIFEST.replace("{name: local}", f"{{name: {provider}}}"))
    assert run(_COMMANDS, ["submit", "job.yaml", "--yes", *words]) == 0
    return capsys.readouterr().err


def test_it_tells_what_goes_on_without_this_machine_and_what_waits_for_its_daemon(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = said(folder, "acme", capsys)

    assert "once acme has it, the training goes on by itself, also with the lid closed" in words
    assert "submitting, fetching the adapter and the bill need the daemon started here" in words
    assert "`ftorch wait` starts it again" in words


def test_on_this_machine_everything_needs_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = said(folder, "local", capsys)

    assert "the daemon started here carries it on, also when this terminal closes" in words
    assert "lid" not in words


def test_a_second_submit_promises_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(folder, "acme", capsys)

    words = said(folder, "acme", capsys)

    assert "nothing was sent" in words
    assert "goes on by itself" not in words
