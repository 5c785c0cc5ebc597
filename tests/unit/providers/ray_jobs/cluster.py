"""A node of a cluster for tests: a session's folders, our package unpacked in it, and the runner as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.stand_in import trainer
from contract.rows import plan_with_rows
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Bundle
from ftorch.providers.ray_jobs.contract import ENTRYPOINT
from ftorch.providers.ray_jobs.package import package
from ftorch.providers.ray_jobs.status import Status

KEY = "ft-bench1-01m853egkdvypddzfanrkc5c05"
EARLIER = "ft-bench1-01m853egkdvypddzfanrkc5c04"


class Node:
    """One node; `run` is what Ray does with a job's entrypoint."""

    def __init__(self, folder: Path) -> None:
        self.session = folder / "session_1"
        self.logs = self.session / "logs"
        self.logs.mkdir(parents=True)
        self.plan, self.bundle = self._rows(folder)
        self.package = self.session / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
        packed = package(self.bundle, folder, provider="ray")
        zipfile.ZipFile(packed.path).extractall(self.package)
        (self.package / "ftorch" / "trainer" / "__main__.py").write_text(trainer())
        self._settings = folder / "instant.json"

    def run(self, env: Mapping[str, str] | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(env, **settings)
        said, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def start(self, env: Mapping[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
        self._settings.write_text(json.dumps({"seconds": 0.1, **settings}))
        ours = {"FTORCH_RUN_KEY": KEY, "INSTANT": str(self._settings)}
        return subprocess.Popen(
            [sys.executable, *ENTRYPOINT.split()[1:]],
            cwd=self.package,
            env={**os.environ, **ours, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def folder(self, key: str = KEY) -> Path:
        return self.logs / "ftorch" / key

    def status(self, key: str = KEY) -> Status:
        found = Status.parse((self.folder(key) / "status.json").read_text())
        assert found is not None
        return found

    def job(self, key: str = KEY) -> dict[str, Any]:
        spec: dict[str, Any] = json.loads((self.folder(key) / "job.json").read_text())
        return spec

    @staticmethod
    def _rows(folder: Path) -> tuple[Plan, Bundle]:
        return plan_with_rows(folder / "dataset", providers=("ray",))


def checkpoint(folder: Path, step: int, mark: str = "{}", *, is_whole: bool = True) -> None:
    """A checkpoint in a run's folder."""
    place = folder / "checkpoints" / f"checkpoint-{step}"
    place.mkdir(parents=True)
    (place / "adapter.bin").write_text(f"weights of step {step}")
    if is_whole:
        (place / ".complete").write_text(mark)


def steps(folder: Path) -> list[int]:
    """The whole checkpoints in a run's folder."""
    return sorted(int(mark.parent.name.partition("-")[2]) for mark in folder.glob("checkpoints/*/.complete"))
