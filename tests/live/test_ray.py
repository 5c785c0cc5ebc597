"""A Ray cluster for real, with a GPU: the smallest example comes home. Run by hand with the address set.

.venv/bin/pytest -m live tests/live/test_ray.py --allow-hosts=
"""

from __future__ import annotations

import os
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell

pytestmark = [pytest.mark.live, pytest.mark.enable_socket]
_NAMES = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "FTORCH_RAY_PLAIN_HTTP")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    shutil.copy(ROOT / "ftorch.toml", tmp_path)
    return Shell(tmp_path, env={name: os.environ[name] for name in _NAMES if name in os.environ})


def _train(shell: Shell, example: str) -> None:
    done = shell.run("submit", f"jobs/{example}.yaml", "--wait", "--yes", longest_s=3600)

    assert done.returncode == 0, done.stderr
    [job] = shell.json("jobs")
    assert shell.json("adapters", "verify", job["id"])["valid"]
    assert Decimal(shell.json("spend")["total"]["amount"]) > 0
    assert "step" in shell.run("logs", job["id"]).stdout


def test_the_smallest_job_comes_home(shell: Shell) -> None:
    _train(shell, "ray-dpo")


def test_two_workers_train_on_two_gpus(shell: Shell) -> None:
    manifest = shell.folder / "jobs" / "ray-dpo.yaml"
    manifest.write_text(manifest.read_text().replace("resources: {", "resources: {workers: 2, "))

    _train(shell, "ray-dpo")
