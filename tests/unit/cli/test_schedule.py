"""`ftorch schedule`, `notices` and `daemon install` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ftorch.cli.app import run
from ftorch.cli.main import _COMMANDS
from ftorch.cli.shapes import output_schema
from unit.schedule.bench import MANIFEST


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "job.yaml").write_text(MANIFEST)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.setenv("FTORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """What a command prints, on stdout and on stderr."""
    assert run(_COMMANDS, list(words)) == code
    return capsys.readouterr()


def answered(capsys: pytest.CaptureFixture[str], shape: str, *words: str) -> Any:
    """The JSON of a command, which fits its schema."""
    value = json.loads(said(capsys, *words, "--json")[0])
    jsonschema.validate(value, output_schema(shape))
    return value


def test_a_schedule_without_a_daemon_says_so_and_names_the_line_that_installs_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, words = said(capsys, "schedule", "add", "job.yaml")

    assert "schedule support is active, next at" in words
    assert "no daemon is at work here: nothing starts without one that stays" in words
    assert "`ftorch daemon install` makes one that survives reboots" in words


def test_the_commands_rule_stands_over_the_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--cron", "30 4 * * *", "--timezone", "Europe/Paris", "--jitter", "10m", "--overlap", "queue_one")

    added = answered(capsys, "schedule", "schedule", "add", "job.yaml", *options, "--when", "always")

    assert (added["cron"], added["timezone"], added["jitter_s"]) == ("30 4 * * *", "Europe/Paris", 600)
    assert (added["when"], added["overlap"], added["differs"]) == (["always"], "queue_one", True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cron", "61 * * * *"), "--cron: '61 * * * *' is not a cron expression"),
        (("--timezone", "Mars"), "--timezone: 'Mars' is not a time zone"),
        (("--when", "sometimes"), "--when: 'sometimes' is not a trigger"),
        (("--when", "always", "--when", "dataset_changed"), "always needs no other trigger beside it"),
        (("--jitter", "soon"), "--jitter: 'soon' is not a duration"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert words in said(capsys, "schedule", "add", "job.yaml", *options, code=2)[1]


def test_a_manifest_without_a_schedule_says_what_to_write(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "job.yaml").write_text(MANIFEST.partition("schedule:")[0])

    _, words = said(capsys, "schedule", "add", "job.yaml", code=3)

    assert "schedule: is missing" in words
    assert "or give --cron" in words


def test_schedules_are_listed_shown_paused_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "schedule", "add", "job.yaml")
    said(capsys, "schedule", "pause", "support")
    [paused] = answered(capsys, "schedules", "schedule", "list")
    said(capsys, "schedule", "resume", "support")
    shown = said(capsys, "schedule", "show", "support")[0]
    said(capsys, "schedule", "remove", "support")

    assert (paused["state"], paused["next_at"]) == ("paused", None)
    assert "schedule   support, active" in shown
    assert answered(capsys, "schedules", "schedule", "list") == []
    assert "no schedule is called 'support'" in said(capsys, "schedule", "show", "support", code=2)[1]


def test_the_next_times_of_an_expression_are_a_list_of_moments(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--from", "2026-03-28", "--count", "3", "--json")

    found = json.loads(said(capsys, "schedule", "next", *words)[0])

    assert [one["fire_at"] for one in found] == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ]


def test_the_next_times_begin_with_the_moment_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cron", "0 3 * * *", "--from", "2026-03-28T03:00:00Z", "--count", "1", "--json")

    assert json.loads(said(capsys, "schedule", "next", *words)[0]) == [{"fire_at": "2026-03-28T03:00:00Z"}]


def test_next_wants_a_schedule_or_an_expression(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give the NAME of a schedule, or --cron EXPR" in said(capsys, "schedule", "next", code=2)[1]
    for moment in ("soon", "9999-12-30", "0001-01-01"):
        assert said(capsys, "schedule", "next", "--cron", "@daily", "--from", moment, code=2)[1]


def test_nobody_is_told_without_a_channel(capsys: pytest.CaptureFixture[str]) -> None:
    assert answered(capsys, "notices", "notices") == []
    assert "ftorch.toml has no [[notify]]" in said(capsys, "notices", "test", code=2)[1]


def test_a_channel_that_does_not_take_a_test_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "ftorch.toml").write_text('[[notify]]\ntype = "slack"\nurl = "env:SLACK_URL"\n')

    assert "slack env:SLACK_URL: SLACK_URL is not set" in said(capsys, "notices", "test", code=6)[1]


def test_the_unit_is_printed_and_nothing_is_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "daemon", "install", "--print")

    assert f"WorkingDirectory={project}" in out
    assert not (project / "config" / "systemd").exists()


def test_the_unit_of_another_installation_is_not_overwritten(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, "daemon", "install")
    [unit] = (project / "config" / "systemd").rglob("ftorch.service")
    before = unit.read_text()

    monkeypatch.setenv("FTORCH_HOME", str(project / "other"))
    _, words = said(capsys, "daemon", "install", code=2)

    assert f"this installation is {project / 'other'}" in words
    assert unit.read_text() == before


def test_the_unit_is_written_and_the_commands_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, words = said(capsys, "daemon", "install")

    written = project / "config" / "systemd" / "user" / "ftorch.service"
    assert "ExecStart=" in written.read_text()
    assert "systemctl --user enable --now ftorch.service" in words


def test_no_version_was_ever_promoted(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "schedule", "add", "job.yaml")

    assert answered(capsys, "promotions", "adapters", "history", "support") == []
    assert "nothing of support is in service" in said(capsys, "adapters", "rollback", "support", code=2)[1]
    assert "no adapter is called 'support/1'" in said(capsys, "adapters", "promote", "support/1", code=2)[1]
