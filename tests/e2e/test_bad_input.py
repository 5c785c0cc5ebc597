"""Bad input gets a clear error with file, line, key and what to do; nothing is stored, nothing is spent."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from e2e.shell import Shell, colours, furnish, write_rows

ROW = json.dumps(colours(1)[0])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = furnish(tmp_path)
    yield made
    made.end_all()


def refused(shell: Shell, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the error object of a command that must fail."""
    done = shell.run(*words, "--json")
    assert done.returncode != 0, done.stdout
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return done.returncode, error


def manifest(shell: Shell, old: str, new: str) -> None:
    path = shell.folder / "job.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def rows(shell: Shell, content: bytes) -> None:
    (shell.folder / "rows.jsonl").write_bytes(content)


def good(count: int = 60) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in colours(count)).encode()


MISTAKES: dict[str, tuple[Callable[[Shell], object], int, str]] = {
    "unknown key": (
        lambda shell: manifest(shell, "epochs: 4", "epoch: 4"),
        3,
        "job.yaml:4: method.epoch: not a known key (did you mean 'epochs'?)",
    ),
    "wrong type": (
        lambda shell: manifest(shell, "epochs: 4", "epochs: many"),
        3,
        "job.yaml:4: method.epochs: must be a number, not 'many'",
    ),
    "missing file": (lambda shell: (shell.folder / "rows.jsonl").unlink(), 3, "rows.jsonl: dataset.path: no such file"),
    "empty file": (lambda shell: rows(shell, b""), 3, "D003"),
    "not utf-8": (
        lambda shell: rows(shell, good() + b'{"prompt": "caf\xe9", "completion": "x"}\n'),
        3,
        "rows.jsonl:61: D001",
    ),
    "byte order mark": (lambda shell: rows(shell, b"\xef\xbb\xbf" + good()), 3, "rows.jsonl:1: D002"),
    "half a line": (lambda shell: rows(shell, good() + b'{"prompt": "cut off in the mid'), 3, "rows.jsonl:61: D006"),
    "duplicate keys": (
        lambda shell: rows(shell, good() + b'{"prompt": "a", "prompt": "b", "completion": "c"}\n'),
        3,
        "rows.jsonl:61: D008",
    ),
    "mixed formats": (
        lambda shell: rows(shell, good() + b'{"messages": [{"role": "user", "content": "x"}]}\n'),
        3,
        "rows.jsonl:61: D009",
    ),
    "all rows too long": (lambda shell: manifest(shell, "max_length: 256", "max_length: 8"), 3, "D302"),
    "all labels masked": (
        lambda shell: rows(
            shell,
            b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]}\n'
            * 60,
        ),
        3,
        "D701",
    ),
    "unknown base model": (
        lambda shell: manifest(shell, "builtin:tiny", "builtin:tniy"),
        3,
        "no base model is called 'builtin:tniy' (did you mean 'builtin:tiny'?)",
    ),
    "unknown provider": (lambda shell: manifest(shell, "name: local", "name: locl"), 2, "did you mean 'local'?"),
    "unknown option": (
        lambda shell: manifest(shell, "{name: local}", "{name: local, local: {thread: 2}}"),
        3,
        "not an option of local (did you mean 'threads'?)",
    ),
    "a secret that is not set": (
        lambda shell: manifest(shell, "labels:", "secrets: {HF_TOKEN: env:NOT_SET_ANYWHERE}\nlabels:"),
        4,
        "NOT_SET_ANYWHERE",
    ),
    "budget below the estimate": (
        lambda shell: manifest(shell, "limit: 5.00 USD", "limit: 0.000001 USD"),
        5,
        "is above budget.limit, 0.000001 USD",
    ),
    "budget without a price": (
        lambda shell: (shell.folder / "ftorch.toml").write_text("required_labels = []\n"),
        5,
        "nobody names a price",
    ),
    "settings misspelt": (
        lambda shell: (shell.folder / "ftorch.toml").write_text('[local]\nrat = "1 USD"\n'),
        3,
        "local.rat: not a known key (did you mean 'rate'?)",
    ),
    "several workers": (
        lambda shell: manifest(shell, "labels:", "resources: {workers: 2}\nlabels:"),
        3,
        "local trains in one process",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_before_anything_is_stored(mistake: str, shell: Shell) -> None:
    make, code, words = MISTAKES[mistake]
    make(shell)

    found, error = refused(shell, "submit", "job.yaml")

    assert words in error["message"], error["message"]
    assert found == code
    assert shell.jobs_in_database() == 0
    assert not list(shell.home.glob("datasets/*"))
    assert shell.pid_of_daemon() is None


def test_a_row_of_the_held_out_file_in_the_training_file_is_refused(shell: Shell) -> None:
    write_rows(shell.folder / "held.jsonl", colours(12)[5:])
    manifest(shell, "held_out: {fraction: 0.2, seed: 42}", "held_out: {path: held.jsonl}")

    code, error = refused(shell, "submit", "job.yaml")

    assert (code, error["file"], error["line"]) == (3, "rows.jsonl", 6)
    assert "D404" in error["message"]


def test_an_error_for_people_has_a_hint(shell: Shell) -> None:
    (shell.folder / "job.yaml").unlink()

    done = shell.run("plan", "job.yaml")

    assert done.returncode == 3
    assert "hint: run `ftorch init` to write one" in done.stderr


def test_a_state_folder_that_cannot_be_made_is_refused(shell: Shell) -> None:
    done = shell.run("submit", "job.yaml", extra={"FTORCH_HOME": "/proc/ftorch"})

    assert done.returncode == 2
    assert "FTORCH_HOME" in done.stderr


def test_a_database_of_a_newer_version_is_refused(shell: Shell) -> None:
    shell.home.mkdir()
    with sqlite3.connect(shell.home / "ftorch.db") as connection:
        connection.execute("PRAGMA user_version = 99")

    code, error = refused(shell, "jobs")

    assert (code, error["code"]) == (2, "store")


def test_a_second_daemon_is_refused(shell: Shell) -> None:
    shell.home.mkdir()
    with FileLock(shell.home / "daemon.lock"):
        done = shell.run("daemon", "run")

    assert done.returncode == 2
    assert "another ftorch daemon" in done.stderr


def test_a_job_that_does_not_exist_is_refused(shell: Shell) -> None:
    code, error = refused(shell, "jobs", "show", "nothing")

    assert code == 2
    assert error["hint"]
