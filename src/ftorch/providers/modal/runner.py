"""What a sandbox runs: the trainer, with marks on the Volume around it. A script of its own, for Python alone.

    python runner.py MOUNT KEY APP

Files reach the Volume when a sandbox ends in good order, or at `sync MOUNT`. A machine that is taken away ends in no
order at all, so everything that somebody may ask for later is committed at once: the mark that we have begun, each
checkpoint, the step we are at, and how it ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_LOOK_S = 1.0
_SYNC_S = 10.0
_KILLED = 128


class Runner:
    """One sandbox of a run."""

    def __init__(self, mount: Path, key: str, app: str) -> None:
        self._mount = mount
        self._folder = mount / "runs" / key
        self._mark = f"{key}.{os.environ.get('MODAL_SANDBOX_ID', 'unknown')}.{app}"
        self._code = Path(__file__).parent / "trainer.zip"
        self._committed: set[str] = set()
        self._synced_s = 0.0

    def run(self) -> int:
        """Train; returns the exit code of the sandbox."""
        self._note("started", {})
        self._prepare_base()
        trainer = self._start("train", str(self._folder / "job.json"), "--out", str(self._folder / "out"))
        signal.signal(signal.SIGTERM, lambda _number, _frame: trainer.terminate())
        code = self._follow(trainer)
        self._note("ended", {"exit_code": code})
        return code if code >= 0 else _KILLED - code

    def _follow(self, trainer: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return trainer.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                self._commit_news()

    def _commit_news(self) -> None:
        """A new checkpoint at once, the rest every few seconds."""
        complete = {str(path) for path in (self._folder / "out" / "checkpoints").glob("*/.complete")}
        if complete - self._committed or time.monotonic() - self._synced_s >= _SYNC_S:
            self._committed |= complete
            self._sync()

    def _prepare_base(self) -> None:
        """A base model that the trainer builds itself is built here, and its place written into the spec."""
        spec_file = self._folder / "job.json"
        spec = json.loads(spec_file.read_text())
        base = spec["base_model"]
        if not base["id"].startswith("builtin:") or base.get("path"):
            return
        command = ["prepare", base["id"], "--cache", str(self._mount / "bases")]
        done = self._start(*command, stdout=subprocess.PIPE)
        output, _ = done.communicate()
        if done.returncode == 0:
            base["path"] = json.loads(output.splitlines()[-1])["path"]
            spec_file.write_text(json.dumps(spec))

    def _start(self, *words: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(self._code), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "ftorch.trainer", *words]
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=stdout)

    def _note(self, folder: str, words: dict[str, object]) -> None:
        path = self._mount / folder / self._mark
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"t": time.time(), **words}))
        self._sync()

    def _sync(self) -> None:
        subprocess.run(["sync", str(self._mount)], check=False)  # noqa: S607  the image's own
        self._synced_s = time.monotonic()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(_KILLED + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(Runner(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).run())
