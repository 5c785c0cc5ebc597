"""The recipes of the guide for cron and for a CI service, followed as they are written, against Together's emulator."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from e2e.shell import ROOT, Shell, until
from ftorch.emulators.clock import FastClock
from ftorch.emulators.together import KEY, TogetherEmulator

GUIDE = (ROOT / "docs" / "guides" / "retrain.md").read_text()
_HOUR_IN_A_SECOND = 3600.0
_HOUR_MICROS = 3_600_000_000


def blocks() -> list[str]:
    """The text blocks of the guide."""
    return re.findall(r"^```text\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def line_of_cron() -> str:
    """The command of the crontab's line, and nothing before it."""
    [text] = [block for block in blocks() if "daemon run --once" in block and "name:" not in block]
    return text.strip().split(maxsplit=5)[5]


def steps_of_ci() -> list[str]:
    """The commands of the workflow, in their order; what installs packages is not for a test."""
    [text] = [block for block in blocks() if block.startswith("name: retrain")]
    steps = yaml.safe_load(text)["jobs"]["daemon"]["steps"]
    return [step["run"] for step in steps if "run" in step and not step["run"].startswith("pip ")]


@pytest.fixture
def emulator() -> Iterator[TogetherEmulator]:
    with TogetherEmulator(FastClock(_HOUR_IN_A_SECOND)) as emulator:
        yield emulator
    assert emulator.violations == []


@pytest.fixture
def shell(tmp_path: Path, emulator: TogetherEmulator) -> Iterator[Shell]:
    """A project whose schedule trains at Together."""
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    text = (tmp_path / "jobs" / "together-sft.yaml").read_text().replace("data/", "jobs/data/")
    named = re.sub(r"^name: .*$", "name: retrain", text, flags=re.MULTILINE)
    schedule = 'schedule: {cron: "0 * * * *", when: dataset_changed}\n'
    (tmp_path / "retrain.yaml").write_text(re.sub(r"^eval:.*\n(?: .*\n)*", "", named, flags=re.MULTILINE) + schedule)
    made = Shell(tmp_path, {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": KEY, "HOME": str(tmp_path)})
    yield made
    made.end_all()


def follow(shell: Shell, commands: Sequence[str]) -> None:
    """What cron's or the runner's shell does. Both find no more than what the line names."""
    ftorch = f"{shlex.quote(sys.executable)} -m ftorch.cli.main"
    for command in commands:
        line = re.sub(r"(/srv/project/\.venv/bin/)?\bftorch (?=daemon|schedule)", f"{ftorch} ", command)
        line = line.replace("/srv/project", shlex.quote(str(shell.folder)))
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=shell.folder,
            env={**shell.environment(), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def outcome(shell: Shell) -> tuple[str, str | None] | None:
    """State and reason of the one occurrence, once it has ended."""
    with sqlite3.connect(shell.home / "ftorch.db") as connection:
        rows = connection.execute("SELECT state, reason, ended_at FROM occurrences").fetchall()
    assert len(rows) <= 1, rows
    return (rows[0][0], rows[0][1]) if rows and rows[0][2] else None


def an_hour_goes_by(shell: Shell) -> None:
    """A full hour lies between then and now: a time of the schedule has passed."""
    with sqlite3.connect(shell.home / "ftorch.db") as connection:
        connection.execute(
            "UPDATE schedules SET watched_until = watched_until - ?, next_at = next_at - ?, version = version + 1",
            (_HOUR_MICROS, _HOUR_MICROS),
        )


def test_the_recipe_for_cron_retrains(shell: Shell) -> None:
    added = shell.run("schedule", "add", "retrain.yaml")
    assert added.returncode == 0, added.stderr
    an_hour_goes_by(shell)

    def passes() -> bool:
        follow(shell, [line_of_cron()])
        return outcome(shell) is not None

    until(passes, within_s=120)
    assert outcome(shell) == ("promoted", None)
    assert shell.run("adapters", "path", "retrain@latest").stdout.strip()


def test_the_recipe_for_a_ci_service_retrains(shell: Shell) -> None:
    follow(shell, steps_of_ci())
    an_hour_goes_by(shell)

    def passes() -> bool:
        # Each run of the workflow is a new runner: nothing is there but the project and the cached state.
        follow(shell, steps_of_ci())
        return outcome(shell) is not None

    until(passes, within_s=120)
    assert outcome(shell) == ("promoted", None)


def test_each_recipe_has_its_commands() -> None:
    assert line_of_cron().endswith("daemon run --once")
    assert steps_of_ci() == ["ftorch schedule add retrain.yaml", "ftorch daemon run --once"]
