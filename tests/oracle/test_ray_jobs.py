"""A real Ray head: the Jobs API behaves as the emulator does, and manifests become adapters on it.

The head lives in a network of its own and is ended by process id. `make cluster` has what takes longer.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.behaviour import Cluster, JobsApiContract
from cluster.head import Head
from cluster.jobs import generated, manifest, person, trained, workers
from e2e.shell import Shell, until
from ftorch.core.clock import ManualClock
from ftorch.core.errors import CredentialsError
from ftorch.emulators.ray import RayEmulator
from ftorch.providers.ray.provider import RayProvider


class RealCluster(Cluster):
    """A real head; time passes by itself."""

    def __init__(self, head: Head) -> None:
        super().__init__(head.url, None)
        self._head = head

    def wait(self) -> None:
        time.sleep(0.2)

    def restart(self) -> None:
        self._head.kill()
        self._head.start()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head() as head:
        yield head


@pytest.fixture
def cluster(head: Head) -> Iterator[RealCluster]:
    cluster = RealCluster(head)
    yield cluster
    cluster.close()


@pytest.fixture
def shell(head: Head, tmp_path: Path) -> Iterator[Shell]:
    with person(head, tmp_path) as shell:
        yield shell


class TestTheRealJobsApi(JobsApiContract):
    """What the emulator is held to."""


def test_one_process_brings_home_the_very_bytes_that_this_machine_trains(shell: Shell, head: Head) -> None:
    here = trained(shell, manifest(shell, "here", provider="local", options=", local: {threads: 2}"))

    there = trained(shell, manifest(shell, "there"))

    weights = [Path(job["adapter"], "adapter_model.safetensors").read_bytes() for job in (here, there)]
    assert weights[0] == weights[1]
    assert generated(shell, head, there["adapter"])
    assert 0 < float(shell.json("spend")["total"]["amount"]) < 1
    assert "ftorch: save ..." in shell.run("logs", there["id"]).stdout


def test_two_workers_learn_preferences_and_go_on_when_one_of_them_is_killed(shell: Shell, head: Head) -> None:
    name = manifest(
        shell, "pairs", method="type: dpo, beta: 0.1, learning_rate: 1.0e-3", rows="pairs.jsonl", workers=2, epochs=30
    )
    submitted = shell.start("submit", name, "--wait", "--yes", "--json")
    until(lambda: list(head.runs.glob("ft-*/checkpoints/*/.complete")), within_s=120)

    os.kill(workers(head)[-1], signal.SIGKILL)
    said, complaints = submitted.communicate(timeout=200)

    assert submitted.returncode == 0, complaints
    job = json.loads(said)
    attempts = json.loads(Path(job["adapter"], "result.json").read_text())["attempts"]
    assert [one["how"] for one in attempts] == ["killed", "succeeded"]
    assert attempts[1]["from_step"] > 0
    assert len(job["runs"]) == 1
    assert generated(shell, head, job["adapter"])


def test_the_head_wants_its_token() -> None:
    with Head(env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-test-with-32-characters"}) as head:
        told: list[object] = []
        for token in ("", "wrong", "a-token-of-this-test-with-32-characters"):
            provider = RayProvider.from_env({"RAY_ADDRESS": head.url, "RAY_AUTH_TOKEN": token, "FTORCH_HOME": "/none"})
            try:
                told.append(provider.find(["ft-bench1-01m853egkdvypddzfanrkc5c05"]))
            except CredentialsError as error:
                told.append(error.hint)
            provider.close()

    hint = "set RAY_AUTH_TOKEN, then run `ftorch doctor`"
    assert told == [hint, hint, {}]


def test_rays_own_client_drives_the_emulator() -> None:
    """Unmodified: submit, status, list, logs, stop, delete."""
    from ray.job_submission import JobSubmissionClient

    clock = ManualClock()
    with RayEmulator(clock, token=None) as emulator:
        client = JobSubmissionClient(emulator.url)
        key = client.submit_job(entrypoint="sleep 60", submission_id="ft-bench1-of-rays-own-client")
        states = [client.get_job_status(key).value]
        clock.advance(2)
        states.append(client.get_job_status(key).value)
        listed = [job.submission_id for job in client.list_jobs()]
        logs = client.get_job_logs(key)
        stopped = client.stop_job(key)
        clock.advance(2)
        states.append(client.get_job_info(key).status.value)
        with pytest.raises(RuntimeError, match="already exists"):
            client.submit_job(entrypoint="true", submission_id=key)
        deleted = client.delete_job(key)
        with pytest.raises(RuntimeError, match="does not exist"):
            client.get_job_status(key)

    assert states == ["PENDING", "RUNNING", "STOPPED"]
    assert (listed, stopped, deleted) == ([key], True, True)
    assert "Running entrypoint for job" in logs
