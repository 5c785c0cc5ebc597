"""Several workers on a real Ray head. Part of `make cluster`; `test_ray_jobs.py` has the first of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.head import Head
from cluster.jobs import driver, generated, manifest, person, trained, workers
from e2e.shell import Shell, until


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head() as head:
        yield head


@pytest.fixture
def shell(head: Head, tmp_path: Path) -> Iterator[Shell]:
    with person(head, tmp_path) as shell:
        yield shell


def _stored(bucket: Path) -> str:
    return f", ray: {{cpu: true, output_uri: 'file://{bucket}'}}"


def _has_checkpoint(bucket: Path) -> Path:
    """The copy of a run that has got to its first checkpoint."""
    marks: list[Path] = until(lambda: list(bucket.glob("ft-*/checkpoints/*/.complete")), within_s=120)
    return marks[0].parents[2]


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
        job = trained(shell, manifest(shell, "stored", workers=2, options=_stored(bucket)))

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


def test_a_writer_that_starts_where_nothing_is_goes_on_from_the_storage(
    shell: Shell, head: Head, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    name = manifest(shell, "moved", workers=2, epochs=30, options=_stored(bucket))
    submitted = shell.start("submit", name, "--wait", "--yes", "--json")
    here = head.runs / _has_checkpoint(bucket).name

    # All nodes of this machine have one disk: what another machine would not have is taken away.
    os.kill(json.loads((here / "heartbeat.json").read_text())["pid"], signal.SIGKILL)
    for file in ("events.jsonl", "heartbeat.json", "metrics.jsonl"):
        (here / file).unlink()
    shutil.rmtree(here / "checkpoints")
    said, complaints = submitted.communicate(timeout=240)

    assert submitted.returncode == 0, complaints
    first, second = json.loads(Path(json.loads(said)["adapter"], "result.json").read_text())["attempts"]
    assert (first["how"], second["how"]) == ("killed", "succeeded")
    assert second["from_step"] >= 5
    assert not list(bucket.glob("ft-*/checkpoints/*/*"))


def test_the_next_run_of_several_workers_goes_on_from_the_storage(shell: Shell, head: Head, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    name = manifest(shell, "retried", workers=2, epochs=30, options=_stored(bucket))
    with (shell.folder / name).open("a") as stream:
        stream.write("retry: {on_events: [preempted], max_runs: 2}\n")
    submitted = shell.start("submit", name, "--wait", "--yes", "--json")
    _has_checkpoint(bucket)

    os.kill(driver(head), signal.SIGKILL)
    said, complaints = submitted.communicate(timeout=300)

    assert submitted.returncode == 0, complaints
    job = json.loads(said)
    result = json.loads(Path(job["adapter"], "result.json").read_text())
    assert len(job["runs"]) == 2
    assert [one["how"] for one in result["prior_attempts"]] == ["taken_over"]
    assert result["attempts"][0]["from_step"] >= 5


def test_workers_that_find_no_room_end_and_say_what_the_cluster_has(tmp_path: Path) -> None:
    with Head(cpus=1, env={"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2"}) as head, person(head, tmp_path) as shell:
        refused = shell.run("submit", manifest(shell, "crowded", workers=2), "--wait", "--yes")

    assert refused.returncode == 7
    assert "2 workers with a CPU each found no room within" in refused.stderr
    assert "the cluster has 1 CPU, 0 GPU" in refused.stderr


def test_nothing_of_a_stopped_training_lives_on(shell: Shell, head: Head) -> None:
    submitted = shell.run("submit", manifest(shell, "long", workers=2, epochs=100), "--yes")
    assert submitted.returncode == 0, submitted.stderr
    until(lambda: workers(head), within_s=120)

    assert shell.run("cancel", "long").returncode == 0
    cancelled = shell.run("wait", "long")

    assert cancelled.returncode == 8, cancelled.stderr
    until(lambda: not workers(head), within_s=30)
