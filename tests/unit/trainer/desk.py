"""What the trainer's tests write and start: rows, specs, and the trainer itself, here or as a process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ftorch.trainer.__main__ import main
from ftorch.trainer.files import read_lines

Json = dict[str, Any]


def user(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Json]:
    return [{"role": "assistant", "content": text}]


def sft_rows(count: int = 42) -> list[Json]:
    """Rows of different lengths, so that batches are padded."""
    return [{"prompt": user("say " + "x" * (n % 7)), "completion": assistant(f"number {n % 5}")} for n in range(count)]


def dpo_rows(count: int = 24) -> list[Json]:
    return [
        {"prompt": user(f"say {n % 6}"), "chosen": assistant(f"yes {n % 6}"), "rejected": assistant(f"no, {n % 6}!")}
        for n in range(count)
    ]


@dataclass(frozen=True)
class Desk:
    """A folder with specs and rows in it."""

    folder: Path
    tiny: Path

    def rows(self, rows: Sequence[Json], name: str = "train.jsonl") -> str:
        """Write rows. Returns their file's SHA-256."""
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (self.folder / name).write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def sft(self, rows: Sequence[Json] | None = None, **changes: Any) -> Path:
        """A spec of six steps per epoch: 42 rows in micro-batches of 4, two of them per step."""
        return self._spec(rows or sft_rows(), {"method": "sft", "micro_batch_size": 4, **changes})

    def dpo(self, rows: Sequence[Json] | None = None, **changes: Any) -> Path:
        """A spec of three steps per epoch."""
        return self._spec(rows or dpo_rows(), {"method": "dpo", **changes})

    def evaluation(self, rows: Sequence[Json], **changes: Any) -> Path:
        sha256 = self.rows(rows, "held_out.jsonl")
        held_out = {"rows_file": "held_out.jsonl", "rows_sha256": sha256}
        return self.write({"version": 1, "base_model": self.base, **held_out, "threads": 1, **changes}, "evaluate.json")

    def write(self, spec: Json, name: str = "job.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(spec))
        return path

    def changed(self, spec: Path, name: str = "changed.json", **changes: Any) -> Path:
        """The same spec with some keys changed, in another file."""
        return self.write({**json.loads(spec.read_text()), **changes}, name)

    @property
    def base(self) -> Json:
        return {"id": "builtin:tiny", "path": str(self.tiny)}

    def out(self, name: str = "out") -> Path:
        return self.folder / name

    def train(self, spec: Path, out: str = "out") -> int:
        return _main("train", spec, "--out", self.out(out))

    def evaluate(self, spec: Path, out: str = "scored") -> int:
        return _main("evaluate", spec, "--out", self.out(out))

    def result(self, out: str = "out") -> Json:
        return self.object("result.json", out)

    def object(self, name: str, out: str = "out") -> Json:
        value: Json = json.loads((self.out(out) / name).read_text())
        return value

    def lines(self, name: str, out: str = "out") -> list[Json]:
        return list(read_lines(self.out(out) / name))

    def events(self, kind: str, out: str = "out") -> list[Json]:
        return [event for event in self.lines("events.jsonl", out) if event["event"] == kind]

    def adapter(self, out: str = "out") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.out(out) / "adapter").iterdir())}

    def _spec(self, rows: Sequence[Json], changes: Json) -> Path:
        sha256 = self.rows(rows)
        usual = {
            "version": 1,
            "base_model": self.base,
            "train_file": "train.jsonl",
            "train_sha256": sha256,
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 0.01,
            "save_every_steps": 10,
            "threads": 1,
        }
        return self.write({**usual, **changes})


def _main(*arguments: object) -> int:
    with patch.dict(os.environ):  # the trainer sets its own process's environment, and this one is pytest's
        return main(list(map(str, arguments)))


@contextmanager
def running(
    *arguments: object, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The trainer as a process, killed at the end of the block; what it says comes line by line from `stderr`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ftorch.trainer", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        pass_fds=pass_fds,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read what the process says until it says these words."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"never said {words!r}: {''.join(said)}")


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The trainer in a process where importing torch fails."""
    code = "import sys; sys.modules['torch'] = None; from ftorch.trainer.__main__ import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
