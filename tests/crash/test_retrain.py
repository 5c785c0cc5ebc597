"""A dataset grows while nobody watches: retrained, judged, promoted or refused, told, and taken back byte for byte."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.receiver import Receiver, listening
from e2e.shell import Shell, kill, until, write_rows

_MANIFEST = """\
version: 1
name: answers
base_model: builtin:tiny
method: {type: sft, lora: {rank: 8, alpha: 16}, epochs: 6, learning_rate: 5.0e-3, batch_size: 8, max_length: 64}
dataset: {path: rows.jsonl, held_out: {fraction: 0.3, seed: 42}}
provider: {name: local}
labels: {team: tests}
schedule: {cron: "0 3 * * *", timezone: Europe/Paris, when: dataset_changed, misfire: once,
           promote: {no_worse_by: 0.2}}
"""
_SETTINGS = """\
[local]
rate = "0.36 USD"

[[notify]]
type = "webhook"
url = "env:NEWS_URL"
secret = "env:NEWS_SECRET"
"""


def rows(answer: str, first: int, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"Is thing {n} fine?", "completion": answer} for n in range(first, first + count)]


DAY_MICROS = 86_400_000_000


def sleep_for_a_day(shell: Shell) -> None:
    """As if the machine had been closed for a day: all that was noted is a day older, and 03:00 went by since."""
    with sqlite3.connect(shell.home / "ftorch.db") as connection:
        connection.execute(
            "UPDATE occurrences SET id = schedule_id || '/' || (fire_at - :day), fire_at = fire_at - :day",
            {"day": DAY_MICROS},
        )
        connection.execute(
            "UPDATE schedules SET watched_until = watched_until - :day, next_at = next_at - :day, "
            "version = version + 1",
            {"day": DAY_MICROS},
        )


def next_outcome(shell: Shell) -> dict[str, Any]:
    """Sleep past a time, wake up, and wait for what becomes of it."""

    def ended() -> int:
        # Asked of the database itself: the command would be asked hundreds of times.
        with sqlite3.connect(shell.home / "ftorch.db") as connection:
            return int(connection.execute("SELECT COUNT(ended_at) FROM occurrences").fetchone()[0])

    before = ended()
    sleep_for_a_day(shell)
    until(lambda: ended() > before, within_s=200.0)
    found: dict[str, Any] = shell.json("schedule", "show", "answers")["occurrences"][0]
    return found


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening(refusals=1) as found:
        yield found


@pytest.fixture
def shell(tmp_path: Path, receiver: Receiver) -> Iterator[Shell]:
    write_rows(tmp_path / "rows.jsonl", rows("yes", 0, 60))
    (tmp_path / "answers.yaml").write_text(_MANIFEST)
    (tmp_path / "ftorch.toml").write_text(_SETTINGS)
    made = Shell(tmp_path, {"NEWS_URL": receiver.url, "NEWS_SECRET": receiver.secret})
    added = made.run("schedule", "add", "answers.yaml")
    assert added.returncode == 0, added.stderr
    assert "`ftorch daemon install`" in added.stderr
    daemon = made.start("daemon", "run")
    yield made
    kill(daemon.pid)
    daemon.communicate()
    made.end_all()


def latest(shell: Shell) -> str:
    return shell.run("adapters", "path", "answers@latest").stdout.strip()


def test_a_growing_dataset_is_retrained_and_only_what_is_better_is_promoted(shell: Shell, receiver: Receiver) -> None:
    first = next_outcome(shell)
    assert first["state"] == "promoted", first
    old = latest(shell)
    kept = content(old)

    # Nothing changed: nothing is spent.
    assert (next_outcome(shell)["reason"], len(shell.json("jobs"))) == ("unchanged", 1)

    # More wrong rows than right ones, held-out rows among them.
    write_rows(shell.folder / "rows.jsonl", [*rows("yes", 0, 60), *rows("no", 60, 120)])
    poisoned = next_outcome(shell)
    assert (poisoned["state"], poisoned["reason"]) == ("refused", "gate"), poisoned
    assert latest(shell) == old
    assert [one["state"] for one in shell.json("adapters")] == ["refused", "promoted"]

    # The poison is taken out; honest rows come.
    write_rows(shell.folder / "rows.jsonl", rows("yes", 0, 90))
    better = next_outcome(shell)
    assert better["state"] == "promoted", better
    assert latest(shell) != old
    [promoted] = [one for one in shell.json("adapters") if one["in_service"]]
    assert (promoted["version"], promoted["lineage"]["parent"]) == ("answers/3", "answers/1")

    # The notices have come, signed; the first was refused once, and came again under its id.
    [refusal] = until(lambda: receiver.of("refused"), within_s=60)
    assert refusal["about"]["version"] == "answers/2"
    assert float(refusal["dollars"]["spend"]["amount"]) > 0
    assert [
        one["about"]["version"] for one in until(lambda: receiver.of("promoted")[1:] and receiver.of("promoted"))
    ] == [
        "answers/1",
        "answers/3",
    ]
    assert receiver.attempts[0]["webhook-id"] in [one["webhook-id"] for one in receiver.attempts[1:]]

    # A person takes it back.
    back = shell.run("adapters", "rollback", "answers")
    assert back.returncode == 0, back.stderr
    assert latest(shell) == old
    assert content(old) == kept
    history = shell.json("adapters", "history", "answers")
    assert [(one["version"], one["how"]) for one in history] == [
        ("answers/1", "gate"),
        ("answers/3", "gate"),
        ("answers/1", "rollback"),
    ]
    assert json.dumps(history).count("env:") == 0
