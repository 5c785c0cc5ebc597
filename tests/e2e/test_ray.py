"""A Ray cluster from a manifest to a verified adapter, by the installed command and the emulator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell
from ftorch.costs.items import Window, time_charge
from ftorch.emulators.clock import FastClock
from ftorch.emulators.ray import TOKEN, RayEmulator

_SPEED = 30.0
_RATE = Decimal("3.00")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A copy of the examples and of their settings."""
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    shutil.copy(ROOT / "ftorch.toml", tmp_path)
    shell = Shell(tmp_path, {"HOME": str(tmp_path)})
    yield shell
    shell.end_all()


@pytest.fixture
def emulator() -> Iterator[RayEmulator]:
    with RayEmulator(FastClock(_SPEED)) as emulator:
        yield emulator


def _cluster(emulator: RayEmulator) -> dict[str, str]:
    return {"RAY_ADDRESS": emulator.url, "RAY_AUTH_TOKEN": TOKEN}


def _truth(emulator: RayEmulator, key: str) -> Decimal:
    """What the run's own time costs, by the cluster's clock."""
    job = emulator.cluster._past.get(key) or emulator.cluster.jobs[key]
    assert job.started_at is not None
    assert job.ending is not None
    return Decimal(time_charge(_RATE, Window(job.started_at, job.ending.at)).micro) / 1_000_000


@pytest.mark.parametrize("example", ["ray-sft", "ray-dpo", "ray-workers"])
def test_an_example_becomes_an_adapter_at_home_at_the_declared_rate(
    shell: Shell, emulator: RayEmulator, example: str
) -> None:
    emulator.clock.advance(-3600)  # ours is not ahead of the cluster's

    done = shell.run("submit", f"jobs/{example}.yaml", "--wait", "--yes", "--json", extra=_cluster(emulator))

    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout)
    [run] = job["runs"]
    assert shell.run("adapters", "verify", job["adapter"]).returncode == 0
    assert Decimal(shell.json("spend")["total"]["amount"]) == _truth(emulator, run["key"])
    assert emulator.requests["POST /api/jobs/"] == emulator.cluster.creates[run["key"]] == 1
    assert run["key"] not in emulator.cluster.jobs
    assert " loss " in shell.run("logs", job["id"], extra=_cluster(emulator)).stdout


def test_a_plan_needs_no_cluster(shell: Shell) -> None:
    done = shell.run("plan", "jobs/ray-sft.yaml")

    assert done.returncode == 0, done.stderr
    assert "declared rate in ftorch.toml" in done.stderr
    assert "RAY_ADDRESS" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("provider: {name: ray}", "provider: {name: ray}\nsecrets: {HF_TOKEN: env:HF_TOKEN}"),
            "shows the environment",
        ),
        (("resources: {max", "resources: {gpu: H100, max"), "leave resources.gpu out"),
        (("provider: {name: ray}", "provider: {name: ray, ray: {parallel: 2}}"), "not an option of ray"),
    ],
)
def test_what_ray_cannot_do_is_refused_with_its_sentence(shell: Shell, change: tuple[str, str], words: str) -> None:
    manifest = shell.folder / "jobs" / "ray-sft.yaml"
    manifest.write_text(manifest.read_text().replace(*change))

    done = shell.run("plan", "jobs/ray-sft.yaml")

    assert done.returncode == 3
    assert words in done.stderr


def test_workers_are_refused_elsewhere_with_the_sentence(shell: Shell) -> None:
    manifest = shell.folder / "jobs" / "tiny-sft.yaml"
    manifest.write_text(manifest.read_text() + "resources: {workers: 2}\n")

    done = shell.run("plan", "jobs/tiny-sft.yaml")

    assert done.returncode == 3
    assert "local trains in one process; for several workers use ray or anyscale" in done.stderr
