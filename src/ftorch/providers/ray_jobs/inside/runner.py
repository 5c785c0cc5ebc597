"""One run on the cluster: make ready, train, and tell how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ftorch.providers.ray_jobs.inside import trainer
from ftorch.providers.ray_jobs.inside.carrier import EARLIER
from ftorch.providers.ray_jobs.inside.mirror import MOST_EARLIER, Mirror, drop_checkpoints, resumed_from
from ftorch.providers.ray_jobs.inside.place import SetupError, runs_folder
from ftorch.providers.ray_jobs.inside.settings import STATUS, Settings
from ftorch.providers.ray_jobs.inside.status import Status, say

_PATHS = ("train_file", "validation_file", "from_adapter")
_KILLED = 128
_INTERRUPTED = 75


class StoppedError(Exception):
    """Asked to stop before the training had begun."""


def main() -> int:
    """Returns the exit code of the job."""
    settings = Settings.from_env(os.environ, Path.cwd())
    try:
        runs = runs_folder(settings.package, is_copied=settings.output_uri is not None)
        mirror = Mirror(settings.output_uri) if settings.output_uri else None
    except SetupError as error:
        say(str(error))
        return error.exit_code
    run = Run(settings, runs, mirror)
    status = Status(settings, run.folder, mirror)
    with status:
        signal.signal(signal.SIGTERM, run.asked_to_stop)
        try:
            run.make_ready()
            code = run.train(status)
        except StoppedError:
            code = _INTERRUPTED
        except SetupError as error:
            code = status.failed(str(error), error.exit_code)
    drop_checkpoints(run.folder)
    return status.end(code)


class Run:
    """The run's folder and the process that trains in it."""

    def __init__(self, settings: Settings, runs: Path, mirror: Mirror | None) -> None:
        self.folder = runs / settings.key
        self._settings = settings
        self._runs = runs
        self._mirror = mirror
        self._process: subprocess.Popen[bytes] | None = None

    def asked_to_stop(self, _number: int, _frame: object) -> None:
        """The trainer saves and stops; workers end with this process."""
        if self._process:
            self._process.terminate()
        else:
            raise StoppedError

    def make_ready(self) -> None:
        """The packages, the base model, an earlier run's checkpoints, and the spec that names them."""
        check_packages(self._settings.package / "requirements.txt")
        spec: dict[str, Any] = json.loads((self._settings.package / "bundle" / "job.json").read_text())
        for name in _PATHS:
            if spec.get(name):
                spec[name] = str(self._settings.package / "bundle" / spec[name])
        if self._settings.workers == 1:  # else each worker makes it ready on its own node
            spec["base_model"]["path"] = trainer.prepare(
                spec["base_model"], self._runs / ".bases", self._settings.package
            )
        spec["resume_from"] = self._earlier_checkpoints()
        (self.folder / "job.json").write_text(json.dumps({**spec, **self._settings.changes}))

    def train(self, status: Status) -> int:
        """The trainer's exit code."""
        if self._settings.workers > 1:
            from ftorch.providers.ray_jobs.inside import workers  # noqa: PLC0415  Ray is for several workers alone

            return workers.train(self._settings, self.folder, status)
        words = ("train", str(self.folder / "job.json"), "--out", str(self.folder))
        environment = trainer.environment(self._settings.package)
        self._process = subprocess.Popen(trainer.command(*words), env=environment, stdin=subprocess.DEVNULL)
        code = self._process.wait()
        return code if code >= 0 else _KILLED - code

    def _earlier_checkpoints(self) -> str | None:
        """Those of the run to go on from, or of the one before it, and so on; None where there are none."""
        key = self._settings.resume_from
        if key and self._mirror and self._settings.workers > 1:
            return str(self.folder / EARLIER)  # the worker that writes brings them, to its own machine
        for _ in range(MOST_EARLIER):
            if key is None:
                return None
            here = self._runs / key / "checkpoints"
            if any(here.glob("*/.complete")):
                return str(here)
            if self._mirror and self._brought(key):
                return str(self.folder / EARLIER)
            key = self._before(key)
        return None

    def _brought(self, key: str) -> bool:
        assert self._mirror is not None
        return self._mirror.bring_checkpoint(key, self.folder / EARLIER)

    def _before(self, key: str) -> str | None:
        told = self._runs / key / STATUS
        if told.exists():
            return resumed_from(told.read_bytes())
        return self._mirror.earlier(key) if self._mirror else None


def check_packages(requirements: Path) -> None:
    """Raises SetupError where the cluster's Python has not what the trainer needs: it would say so less well."""
    from packaging.requirements import Requirement  # noqa: PLC0415  comes with every Ray

    lacking = []
    for line in requirements.read_text().splitlines():
        wanted = Requirement(line)
        try:
            is_there = wanted.specifier.contains(version(wanted.name), prereleases=True)
        except PackageNotFoundError:
            is_there = False
        if not is_there:
            lacking.append(line)
    if lacking:
        words = f"the cluster's Python has no {', '.join(lacking)}"
        raise SetupError(f"{words}: put the packages into its image, or set `install: true` beside the provider's name")
