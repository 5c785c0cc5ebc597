"""Several workers on a real Ray head. Part of `make cluster`; `test_ray_jobs.py` has the first of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.head import Head
from cluster.jobs import generated, manifest, person, trained, workers
from e2e.shell import Shell, until


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head() as head:
        yield head


@pytest.fixture
def shell(head: Head, tmp_path: Path) -> Iterator[Shell]:
    with person(head, tmp_path) as shell:
        yield shell


def test_two_workers_train_together(shell: Shell, head: Head) -> None:
    job = trained(shell, manifest(shell, "both", workers=2))

    result = json.loads(Path(job["adapter"], "result.json").read_text())
    assert (result["effective"]["workers"], [one["how"] for one in result["attempts"]]) == (2, ["succeeded"])
    assert generated(shell, head, job["adapter"])


def test_on_several_nodes_workers_need_a_storage_that_all_of_them_reach(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    with Head(cpus=0) as head, person(head, tmp_path) as shell:
        head.add_node(cpus=4)

        refused = shell.run("submit", manifest(shell, "bare", workers=2), "--wait", "--yes")
        stored = f", ray: {{cpu: true, output_uri: 'file://{bucket}'}}"
        job = trained(shell, manifest(shell, "stored", workers=2, options=stored))

        [run] = job["runs"]
        ours = bucket / run["key"]
        assert refused.returncode == 7
        assert "the cluster has 2 nodes" in refused.stderr
        assert json.loads((ours / "result.json").read_text())["files"]
        assert json.loads((ours / "status.json").read_text())["exit_code"] == 0
        assert generated(shell, head, job["adapter"])


def test_a_training_whose_worker_was_killed_ends_with_the_same_bytes(shell: Shell, head: Head) -> None:
    undisturbed = trained(shell, manifest(shell, "calm", workers=2, epochs=30))
    submitted = shell.start("submit", manifest(shell, "killed", workers=2, epochs=30), "--wait", "--yes", "--json")
    run = until(lambda: [one for one in head.runs.glob("ft-*/checkpoints/*/.complete") if one.exists()], within_s=120)

    os.kill(workers(head)[-1], signal.SIGKILL)
    said, complaints = submitted.communicate(timeout=240)

    assert run
    assert submitted.returncode == 0, complaints
    job = json.loads(said)
    both = [Path(one["adapter"], "adapter_model.safetensors").read_bytes() for one in (undisturbed, job)]
    attempts = json.loads(Path(job["adapter"], "result.json").read_text())["attempts"]
    assert [one["how"] for one in attempts] == ["killed", "succeeded"]
    assert both[0] == both[1]


def test_nothing_of_a_stopped_training_lives_on(shell: Shell, head: Head) -> None:
    submitted = shell.run("submit", manifest(shell, "long", workers=2, epochs=100), "--yes")
    assert submitted.returncode == 0, submitted.stderr
    until(lambda: workers(head), within_s=120)

    assert shell.run("cancel", "long").returncode == 0
    cancelled = shell.run("wait", "long")

    assert cancelled.returncode == 8, cancelled.stderr
    until(lambda: not workers(head), within_s=30)
