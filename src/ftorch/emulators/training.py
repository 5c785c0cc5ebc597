"""What stands behind an emulated training: a ready-made adapter at once, or the trainer itself on a tiny model.

`Instant` takes milliseconds and needs no torch. `Genuine` runs `python -m ftorch.trainer` in a process of its own, on
a model of 90,000 parameters that stands in for whatever was ordered: the adapter is one that PEFT loads on that model.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from ftorch.emulators.adapters import trained_files

_BASE = "builtin:tiny"
_LONGEST_SEQUENCE = 1024  # the tiny model has 2,048 positions
_PATIENCE_S = 5.0
_RESULT = "result.json"


@dataclass(frozen=True)
class Work:
    """An order as a trainer understands it. `base_model` is what the adapter's config must name."""

    base_model: str
    method: Literal["sft", "dpo"]
    rows: tuple[Mapping[str, Any], ...]
    validation_rows: tuple[Mapping[str, Any], ...]
    rank: int
    alpha: int
    dropout: float
    targets: str | tuple[str, ...]
    tokens: int
    values: Mapping[str, Any]
    """Hyper-parameters by the names of the trainer's spec."""

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training left: an adapter's files by name and the loss of each step, or why there is none."""

    files: Mapping[str, bytes]
    losses: Sequence[float]
    error: str = ""


class Training(Protocol):
    """Who trains. An emulator starts each work once, and closes with everything that it started."""

    def start(self, work: Work) -> None:
        """Begin. The same work again is not begun twice."""
        ...

    def outcome(self, work: Work) -> Outcome | None:
        """None while it goes on."""
        ...

    def close(self) -> None: ...


class Instant:
    """An adapter of the right shape, at once; its weights have learned nothing."""

    def start(self, work: Work) -> None:
        """Nothing to begin."""

    def outcome(self, work: Work) -> Outcome:
        files = trained_files(work.base_model, work.rank, work.alpha, work.tokens)
        return Outcome({name: content for name, content in files.items() if name != _RESULT}, _falling(12))

    def close(self) -> None:
        """Nothing to end."""


class Genuine:
    """The trainer, one process at a time. What it made is kept in `folder`: the same work is trained once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="training")
        self._works: dict[str, Future[Outcome]] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False

    def start(self, work: Work) -> None:
        if work.sha256 not in self._works:
            self._works[work.sha256] = self._queue.submit(self._train, work)

    def outcome(self, work: Work) -> Outcome | None:
        future = self._works[work.sha256]
        return future.result() if future.done() else None

    @property
    def pid(self) -> int | None:
        """The process that is at work, or was last."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process that is at work, if any; no other follows."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process:
            _end(process)
        self._queue.shutdown(cancel_futures=True)

    def _train(self, work: Work) -> Outcome:
        folder = self._folder / work.sha256[:24]
        out = folder / "out"
        if not (out / _RESULT).exists():
            base = self._trainer("prepare", _BASE, "--cache", str(self._folder / "bases"))
            if base.returncode == 0:
                _furnish(folder, work, json.loads(base.stdout)["path"])
                base = self._trainer("train", str(folder / "job.json"), "--out", str(out))
            if base.returncode != 0:
                return Outcome({}, (), error=_last_words(base.stderr))
        return Outcome(_files(out / "adapter"), _losses(out / "metrics.jsonl"))

    def _trainer(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the trainer to its end, which `close` may bring forward."""
        with self._lock:
            if self._is_closed:
                return subprocess.CompletedProcess(words, 1, "", "the emulator was closed")
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "ftorch.trainer", *words],
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Ctrl-C in the emulator's terminal must reach the trainer through `close` only.
                start_new_session=True,
            )
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _furnish(folder: Path, work: Work, base: str) -> None:
    """The trainer's spec with its rows beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {
        "version": 1,
        "method": work.method,
        "base_model": {"id": work.base_model, "path": base},
        "train_file": "train.jsonl",
        "train_sha256": _write_rows(folder / "train.jsonl", work.rows),
        "lora": {"rank": work.rank, "alpha": work.alpha, "dropout": work.dropout, "targets": work.targets},
        "dtype": "float32",
        "threads": 1,
        **work.values,
    }
    spec["max_length"] = min(spec["max_length"], _LONGEST_SEQUENCE)
    if work.validation_rows:
        spec["validation_file"] = "validation.jsonl"
        spec["validation_sha256"] = _write_rows(folder / "validation.jsonl", work.validation_rows)
    (folder / "job.json").write_text(json.dumps(spec))


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _losses(path: Path) -> tuple[float, ...]:
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return tuple(float(row["loss"]) for row in rows if "loss" in row)


def _last_words(text: str) -> str:
    return " ".join(line for line in text.splitlines()[-3:]).strip() or "the trainer ended without a word"


def _falling(steps: int) -> tuple[float, ...]:
    return tuple(round(2 / (step + 1) ** 0.5, 4) for step in range(steps))
