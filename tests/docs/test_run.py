"""The pages are followed from top to bottom in a folder of their own: every file is written, every command is run.

The base model is the tiny one, so that a page takes seconds; the hosted model and Together answer on 127.0.0.1.
"""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell, colours, write_rows
from ftorch.core.clock import ManualClock
from ftorch.emulators import together
from ftorch.emulators.clock import FastClock
from ftorch.emulators.together import TogetherEmulator
from postgres import Server, running_server
from sample.chat import KEY, MODEL, ChatService

SESSIONS = (
    ("README.md",),
    ("docs/getting-started.md",),
    ("docs/guides/evaluate.md", "docs/guides/does-it-pay.md"),
    ("docs/guides/first-together-job.md",),
    ("docs/guides/watch.md",),
    ("docs/guides/budgets.md", "docs/guides/postgres.md"),
    ("docs/guides/orphans.md",),
    ("docs/guides/decide.md", "docs/guides/compare.md"),
    ("docs/guides/close-the-month.md",),
    ("docs/guides/retrain.md", "docs/guides/notifications.md", "docs/guides/service.md"),
)
VERDICTS = {"eval": (0, 12, 13), "lifetime": (0, 12, 13), "decide": (0, 12, 13), "daemon": (0, 9)}
"""Commands whose exit code is an answer: the tiny model may fail its gate, the daemon may have left."""
_BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
_ROWS = {"train": 160, "held-out": 36}
_MINUTE_IN_A_SECOND = 60.0


@dataclass(frozen=True)
class Reader:
    """Somebody who does what a page says."""

    shell: Shell
    service: ChatService

    def follow(self, page: str) -> int:
        blocks = list(_BLOCK.finditer((ROOT / page).read_text()))
        for block in blocks:
            self._do(block["kind"], block["text"], block["file"])
        return len(blocks)

    def _do(self, kind: str, text: str, file: str | None) -> None:
        match kind:
            case "yaml" | "toml" | "csv":
                assert file, f"a {kind} block without a file name: {text[:80]}"
                (self.shell.folder / file).write_text(_small(text))
            case "console":
                for line in text.splitlines():
                    self._type(line)
            case "python":
                self._execute(text)
            case "sh":
                _check_paths(text)
            case "text":
                """An excerpt, for the eye."""
            case _:
                assert kind == "json", kind

    def _type(self, line: str) -> None:
        program, *words = shlex.split(line.removeprefix("$ ").partition(" #")[0])
        if program == "make":
            assert set(words) <= set(_TARGET.findall((ROOT / "Makefile").read_text()))
            return
        assert program == "ftorch", line
        done = self.shell.run(*(self._here(word) for word in words))
        assert done.returncode in VERDICTS.get(words[0], (0,)), f"{line}\n{done.stdout}\n{done.stderr}"
        self._make_quick(words)

    def _here(self, word: str) -> str:
        return {"https://api.example.com/v1": self.service.url, "hosted-large": MODEL}.get(word, word)

    def _make_quick(self, words: list[str]) -> None:
        """What `init` has written names a base model of 135 million weights."""
        if words[0] == "init":
            path = self.shell.folder / words[1]
            path.write_text(_small(path.read_text()))

    def _execute(self, text: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=self.shell.folder,
            env=self.shell.environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _small(text: str) -> str:
    return re.sub(r"builtin:smollm2-135m$", "builtin:tiny", text, flags=re.MULTILINE)


def _check_paths(text: str) -> None:
    """Installing again is not for a test; what the lines name must be there."""
    named = [word.strip("'\"") for word in text.split()]
    for word in named:
        if word.endswith((".py", ".txt")):
            assert (ROOT / word).is_file(), word


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def reader(tmp_path: Path, server: Server) -> Iterator[Reader]:
    data = tmp_path / "data"
    data.mkdir()
    write_rows(data / "train.jsonl", colours(120))
    for name, target in (("train", "support.csv"), ("held-out", "held-out.csv")):
        with (ROOT / "jobs" / "data" / f"support-{name}.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))[: _ROWS[name]]
        with (data / target).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ("text", "label"))
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    with ChatService(ManualClock()) as service, TogetherEmulator(FastClock(_MINUTE_IN_A_SECOND)) as emulator:
        account = {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": together.KEY}
        shell = Shell(tmp_path, {"HOSTED_API_KEY": KEY, "FTORCH_DATABASE": server.fresh(), **account})
        yield Reader(shell, service)
        shell.end_all()


@pytest.mark.parametrize("pages", SESSIONS, ids=lambda pages: pages[-1].rpartition("/")[2])
def test_a_page_can_be_followed_from_top_to_bottom(reader: Reader, pages: tuple[str, ...]) -> None:
    assert all(reader.follow(page) for page in pages)


def test_every_page_with_commands_is_followed() -> None:
    followed = {page for session in SESSIONS for page in session}

    with_commands = {
        page.relative_to(ROOT).as_posix()
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        if re.search(r"^\$ ftorch", page.read_text(), re.MULTILINE)
    }

    assert with_commands <= followed
