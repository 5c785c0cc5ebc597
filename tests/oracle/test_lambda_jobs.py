"""jobs/lambda-*.yaml through the installed command: a real sshd, the real switch, the real trainer, and the way home.

There is no Hub here: in the machines the tiny model stands in for the base, under the base's own name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell, kill, until
from ftorch.emulators.clock import FastClock
from ftorch.emulators.lambda_cloud.emulator import LambdaEmulator

_LONGEST_S = 280.0
_MOMENTS = ("provisioned", "running", "finalizing", "succeeded")


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[LambdaEmulator]:
    with LambdaEmulator(FastClock(), tmp_path / "lambda", genuine=True) as emulator:
        emulator.service.boot_s = 3.0
        emulator.service.ending_s = 1.0
        yield emulator
    assert emulator.violations == []
    assert emulator.service.processes() == []


@pytest.fixture
def shell(tmp_path: Path, emulator: LambdaEmulator) -> Iterator[Shell]:
    folder = tmp_path / "desk"
    shutil.copytree(ROOT / "jobs", folder)
    made = Shell(folder, dict(emulator.variables))
    yield made
    made.end_all()


@pytest.mark.parametrize("manifest", ["lambda-sft.yaml", "lambda-dpo.yaml"])
def test_an_example_trains_for_real_and_comes_home(shell: Shell, emulator: LambdaEmulator, manifest: str) -> None:
    done = shell.run("submit", manifest, "--wait", "--yes", longest_s=_LONGEST_S)

    assert done.returncode == 0, done.stderr + done.stdout
    assert_home_and_paid(shell, emulator)


@pytest.mark.parametrize("moment", ["provisioned", "running", "succeeded"])
def test_a_daemon_that_is_killed_goes_on(shell: Shell, emulator: LambdaEmulator, moment: str) -> None:
    submitted = shell.run("submit", "lambda-dpo.yaml", "--yes")
    assert submitted.returncode == 0, submitted.stderr
    until(lambda: has_come_to(moment, shell), within_s=_LONGEST_S)

    pid = shell.pid_of_daemon()
    assert pid is not None
    kill(pid)

    done = shell.run("wait", "lambda-dpo", longest_s=_LONGEST_S)
    assert done.returncode == 0, done.stderr + done.stdout
    assert_home_and_paid(shell, emulator)


def has_come_to(moment: str, shell: Shell) -> bool:
    """A look takes a second on a busy machine, and the run may have gone on meanwhile."""
    [job] = shell.json("jobs")
    return any(run["state"] in _MOMENTS[_MOMENTS.index(moment) :] for run in job["runs"])


def assert_home_and_paid(shell: Shell, emulator: LambdaEmulator) -> None:
    [job] = shell.json("jobs")
    [machine] = emulator.service.machines.values()
    config = json.loads(Path(job["adapter"], "adapter_config.json").read_text())
    assert config["base_model_name_or_path"].startswith("Qwen/")
    assert shell.run("adapters", "verify", job["id"]).returncode == 0
    assert not machine.is_alive
    assert abs(Decimal(job["spend"]["amount"]) - emulator.service.invoice(machine)) < Decimal("0.000001")
    assert job["spend"]["source"] == "measured_time"
