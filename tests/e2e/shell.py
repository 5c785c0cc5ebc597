"""The installed command in a folder of its own: what a person has, for end-to-end and crash tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LONGEST_S = 240.0


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Shell:
    """A working folder with its own `FTORCH_HOME`; ends what it started by process id."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The person's environment: nothing of this process's credentials or settings."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"FTORCH_HOME": str(self.home), "XDG_CONFIG_HOME": str(self.folder / "config"), "HF_HUB_OFFLINE": "1"}
        return {**kept, **own, **self.env, **(extra or {})}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ftorch.cli.main", *words]

    def run(
        self, *words: str, extra: Mapping[str, str] | None = None, longest_s: float = _LONGEST_S
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(extra),
            capture_output=True,
            text=True,
            timeout=longest_s,
            check=False,
        )

    def start(self, *words: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever runs the tests in the background has Ctrl-C switched off, and children inherit that.
            preexec_fn=_hear_ctrl_c,
        )

    def json(self, *words: str) -> Any:
        """The JSON that a command prints; it must have succeeded."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def jobs_in_database(self) -> int:
        """Jobs on disk, asked of the database itself."""
        if not (self.home / "ftorch.db").exists():
            return 0
        with sqlite3.connect(self.home / "ftorch.db") as connection:
            return int(connection.execute("SELECT COUNT(*) FROM jobs").fetchone()[0])

    def pid_of_daemon(self) -> int | None:
        return _read_pid(self.home / "daemon.pid")

    def pids_of_trainers(self) -> list[int]:
        found = [json.loads(path.read_text())["pid"] for path in self.home.glob("runs/*/process.json")]
        return [pid for pid in found if is_alive(pid)]

    def end_all(self) -> None:
        """End the daemon and the trainers that this folder started."""
        for pid in [self.pid_of_daemon(), *self.pids_of_trainers()]:
            if pid is not None and is_alive(pid):
                kill(pid)


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(question: Any, *, within_s: float = 60.0) -> Any:
    """Ask again and again until the answer is true; real processes have no clock that could be moved."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s")


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def colours(rows: int = 48) -> Sequence[dict[str, str]]:
    """Small prompt/completion rows."""
    names = ("blue", "green", "yellow", "black", "white", "red")
    return [{"prompt": f"Which colour has thing number {n}?", "completion": names[n % 6]} for n in range(rows)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


MANIFEST = """\
version: 1
name: colours
base_model: builtin:tiny
method: {type: sft, lora: {rank: 8, alpha: 16}, epochs: 4, learning_rate: 5.0e-3, batch_size: 8, max_length: 256,
         save_every_steps: 5}
dataset: {path: rows.jsonl, held_out: {fraction: 0.2, seed: 42}}
provider: {name: local}
budget: {limit: 5.00 USD}
retry: {on_events: [preempted], max_runs: 20}
labels: {team: tests}
"""


def furnish(folder: Path) -> Shell:
    """A folder with data, a manifest and a declared rate; the prepared base model is shared."""
    write_rows(folder / "rows.jsonl", colours())
    (folder / "job.yaml").write_text(MANIFEST)
    (folder / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    return Shell(folder)


def example(folder: Path, name: str) -> str:
    """One of the example manifests, with its data beside it."""
    shutil.copytree(ROOT / "jobs" / "data", folder / "data", dirs_exist_ok=True)
    shutil.copyfile(ROOT / "jobs" / name, folder / name)
    return name
