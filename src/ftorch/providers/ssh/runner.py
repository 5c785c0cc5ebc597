"""From a run's folder on a box to the trainer: the packages, the base model, then the trainer in this process's place.

Runs detached, in the box's own Python (3.10 or newer, nothing installed). What goes wrong is told in `out/events.jsonl`
in the trainer's words, so that whoever reads the folder reads one protocol. A heartbeat beats from the first second.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

BEAT_S = 2.0
SETUP_FAILED = 70
_SATISFIED = """\
import sys
from importlib.metadata import version
from packaging.requirements import Requirement
wanted = [Requirement(line) for line in open(sys.argv[1]).read().splitlines()]
sys.exit(not all(one.specifier.contains(version(one.name)) for one in wanted))
"""


class SetupError(Exception):
    """The box could not be made ready; what is said goes to the events."""

    def __init__(self, words: str, exit_code: int = SETUP_FAILED) -> None:
        super().__init__(words)
        self.exit_code = exit_code


def main(folder: Path) -> NoReturn:
    """Make ready, then become the trainer."""
    (folder / "out").mkdir(exist_ok=True)
    beating = threading.Event()
    heart = threading.Thread(target=_beat, args=(folder, beating), daemon=True)
    heart.start()
    try:
        python = _python(folder)
        _prepare_base(folder, python)
    except SetupError as error:
        _tell(folder, error)
        sys.exit(error.exit_code)
    finally:
        beating.set()
        heart.join()
    command = [python, "-m", "ftorch.trainer", "train", str(folder / "job.json"), "--out", str(folder / "out")]
    os.execve(python, command, _environment(folder))  # noqa: S606  the trainer takes our place, lock and all


def _python(folder: Path) -> str:
    """A Python that has the training packages: the box's own where it will do, else one of ours, made once."""
    own = json.loads((folder / "order.json").read_text()).get("python") or shutil.which("python3") or sys.executable
    requirements = folder / "requirements.txt"
    checked = subprocess.run([own, "-c", _SATISFIED, str(requirements)], capture_output=True, check=False)
    if checked.returncode == 0:
        return str(own)
    name = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    made = folder.parents[1] / "env" / name
    if not (made / "complete").exists():
        # What the image brings (a torch built for its driver) is used where its version will do.
        _run([own, "-m", "venv", "--system-site-packages", str(made)], "making a Python environment")
        _run([str(made / "bin/python"), "-m", "pip", "install", "-r", str(requirements)], "installing the packages")
        (made / "complete").touch()
    return str(made / "bin/python")


def _prepare_base(folder: Path, python: str) -> None:
    """Bring the base model here, and tell the trainer where it lies."""
    spec = json.loads((folder / "job.json").read_text())
    base = spec["base_model"]
    command = [python, "-m", "ftorch.trainer", "prepare", base["id"], "--cache", str(folder.parents[1] / "bases")]
    command += ["--revision", base["revision"]] if base.get("revision") else []
    said = _run(command, f"preparing the base model {base['id']}", env=_environment(folder))
    base["path"] = json.loads(said.splitlines()[-1])["path"]
    aside = folder / ".job.json.new"
    aside.write_text(json.dumps(spec))
    aside.replace(folder / "job.json")


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder / "trainer.zip"), "PYTHONUNBUFFERED": "1"}


def _run(command: list[str], what: str, env: dict[str, str] | None = None) -> str:
    print(f"ftorch: {what} ...", flush=True)  # noqa: T201  the run's log is what people read
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{what} failed: {done.stderr.strip()[-600:] or 'it said nothing'}", done.returncode)
    return done.stdout


def _tell(folder: Path, error: SetupError) -> None:
    print(f"ftorch: {error}", flush=True)  # noqa: T201  the run's log is what people read
    words = " ".join(str(error).splitlines())
    failed = {"event": "failed", "type": "setup", "message": words, "hint": None, "exit_code": error.exit_code}
    with (folder / "out/events.jsonl").open("a") as stream:
        for event in ({"event": "started", "pid": os.getpid(), "attempt": 1}, failed):
            stream.write(json.dumps({"t": _now(), **event}) + "\n")


def _beat(folder: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        beat: dict[str, Any] = {"t": _now(), "pid": os.getpid(), "phase": "setup", "step": 0, "total_steps": None}
        aside = folder / "out/.heartbeat.json.new"
        aside.write_text(json.dumps(beat))
        aside.replace(folder / "out/heartbeat.json")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()  # noqa: UP017  3.10 has no datetime.UTC


if __name__ == "__main__":
    main(Path(sys.argv[1]))
