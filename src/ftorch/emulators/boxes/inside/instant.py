"""A stand-in for `ftorch.trainer train`: `instant.py JOB OUT SETTINGS`. It keeps the protocol, and learns nothing.

Settings, where the file is there: `seconds` that the training takes, `fail` with words, `extra_bytes` to save.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftorch.emulators.adapters import trained_files

STEPS = 12
SECONDS = 1.2


class Stand:
    """One attempt."""

    def __init__(self, job: Path, out: Path, settings: Path) -> None:
        self.spec: dict[str, Any] = json.loads(job.read_text())
        self.out = out
        self.settings: dict[str, Any] = json.loads(settings.read_text()) if settings.exists() else {}
        self.born = time.monotonic()
        self.stop = ""

    def run(self) -> int:
        self.out.mkdir(exist_ok=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)
        self.event("started", pid=os.getpid(), attempt=1)
        self.say("import ...")
        if why := self._fault():
            self.event("failed", type="DataError", message=why, hint=None, exit_code=65)
            self.say(why)
            return 65
        return self._train()

    def event(self, name: str, **fields: object) -> None:
        with (self.out / "events.jsonl").open("a") as stream:
            stream.write(json.dumps({"t": _now(), "event": name, **fields}) + "\n")

    def say(self, words: str) -> None:
        os.write(2, f"ftorch: {words}\n".encode())

    def _asked(self, *_: object) -> None:
        self.stop = self.stop or "signal"

    def _fault(self) -> str:
        if "fail" in self.settings:
            return str(self.settings["fail"])
        return ""

    def _train(self) -> int:
        pause = float(self.settings.get("seconds", SECONDS)) / STEPS
        for step in range(1, STEPS + 1):
            time.sleep(pause)
            self._beat("train", step)
            limit = self.spec.get("max_duration_s")
            if limit is not None and time.monotonic() - self.born >= limit:
                self.stop = "deadline"
            if self.stop:
                self.event("interrupted", reason=self.stop, step=step)
                return 75
        self._save()
        return 0

    def _beat(self, phase: str, step: int) -> None:
        beat = {"t": _now(), "pid": os.getpid(), "phase": phase, "step": step, "total_steps": STEPS, "loss": 1 / step}
        _write(self.out / "heartbeat.json", json.dumps(beat).encode())

    def _save(self) -> None:
        lora, tokens = self.spec["lora"], 500
        made = trained_files(self.spec["base_model"]["id"], lora["rank"], lora["alpha"], tokens)
        (self.out / "adapter").mkdir(exist_ok=True)
        extra = int(self.settings.get("extra_bytes", 0))
        files = {name: content for name, content in made.items() if name != "result.json"}
        if extra:
            files["extra.bin"] = os.urandom(extra)
        for name, content in files.items():
            _write(self.out / "adapter" / name, content)
        self.event("succeeded", step=STEPS)
        self.say("saved")
        hashes = {name: {"sha256": hashlib.sha256(one).hexdigest(), "bytes": len(one)} for name, one in files.items()}
        result = {**json.loads(made["result.json"]), "files": hashes}
        _write(self.out / "result.json", json.dumps(result).encode())


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    aside.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(Stand(*map(Path, sys.argv[1:4])).run())
