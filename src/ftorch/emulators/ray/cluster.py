"""The cluster: one node with some cores and GPUs, jobs that wait for them in order, packages, and a session.

What happens happens by the clock: every question first brings the cluster to the present.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ftorch.core.clock import Clock
from ftorch.emulators.ray import jobs, runs
from ftorch.emulators.ray.jobs import STOP_S, Ending, Job
from ftorch.emulators.server import RefusedError
from ftorch.emulators.training import Training, Work

MOST_BYTES = 100 << 20
START_TIMEOUT_S = 900
NODE = "3889f6a51e12c1e29e7545523765ad2cd6b34d976ba440cb07709b01"
_SPEC_VALUES = (
    "epochs",
    "max_steps",
    "learning_rate",
    "batch_size",
    "micro_batch_size",
    "max_length",
    "seed",
    "warmup_ratio",
    "scheduler",
    "weight_decay",
    "max_grad_norm",
)


class Cluster:
    """One session after the other, each with its jobs."""

    def __init__(self, clock: Clock, training: Training, *, cpus: float = 64, gpus: float = 8) -> None:
        self.clock = clock
        self.cpus, self.gpus = cpus, gpus
        self.nodes = 1
        """How many it says it has; jobs run on one."""
        self.creates: Counter[str] = Counter()
        """Jobs made, by id."""
        self.jobs: dict[str, Job] = {}
        self.packages: dict[str, bytes] = {}
        self._training = training
        self._sessions = 1
        self._past: dict[str, Job] = {}

    @property
    def session(self) -> str:
        return f"session_2026-11-28_02-48-16_099675_{self._sessions}"

    def restart(self) -> None:
        """Kill the head and start it anew: no job, no package and no log of the session before is there."""
        self._sessions += 1
        self.jobs.clear()
        self.packages.clear()
        self._past.clear()

    # packages

    def receive(self, name: str, content: bytes) -> None:
        if len(content) > MOST_BYTES:
            raise RefusedError(413, "", f"Maximum request body size {MOST_BYTES} exceeded.")
        self.packages[name] = content

    # jobs

    def create(self, order: Mapping[str, Any]) -> Job:
        job_id = order["submission_id"]
        if job_id in self.jobs:
            words = f"ValueError: Job with submission_id {job_id} already exists. Please use a different submission_id."
            raise RefusedError(500, "", f"Traceback (most recent call last):\n{words}\n")
        if not set(job_id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"):
            raise RefusedError(500, "", f"FileNotFoundError: [Errno 2] No such file or directory: {job_id!r}")
        spec, work = self._ordered(order)
        job = Job(order, self.clock.now(), spec, work)
        job.left_s = self._left(job)
        self.jobs[job_id] = job
        self.creates[job_id] += 1
        self._advance()
        return job

    def job(self, job_id: str) -> Job:
        self._advance()
        if job_id not in self.jobs:
            raise RefusedError(404, "", f"Job {job_id} does not exist")
        return self.jobs[job_id]

    def all(self) -> list[Job]:
        self._advance()
        return list(self.jobs.values())

    def stop(self, job_id: str) -> bool:
        """A job that waits goes on waiting; one that runs ends a moment later; for one that has ended: False."""
        job, now = self.job(job_id), self.clock.now()
        if job.is_over(now):
            return False
        job.stop_asked = True
        if job.started_at is not None:
            self._end(job, jobs.stopped(now + timedelta(seconds=STOP_S)))
        return True

    def delete(self, job_id: str) -> None:
        job, now = self.job(job_id), self.clock.now()
        if not job.is_over(now):
            status = job.status(now)
            words = f"Attempted to delete job '{job_id}', but it is in a non-terminal state {status}."
            raise RefusedError(500, "", f"Traceback (most recent call last):\nRuntimeError: {words}\n")
        self._past[job_id] = self.jobs.pop(job_id)

    def forget(self, job_id: str) -> None:
        """Lose every trace of a job. For tests."""
        self.jobs.pop(job_id, None)
        self._past.pop(job_id, None)

    def kill(self, job_id: str) -> None:
        """End the driver of a job from outside. For tests."""
        self._end(self.job(job_id), jobs.killed(self.clock.now()))

    def fail(self, job_id: str, why: str) -> None:
        """Let the trainer of a job that has not begun find a fault. For tests."""
        self.job(job_id).fails_with = why

    def file(self, node_id: str, name: str) -> bytes:
        """A file among the logs of a node."""
        if node_id != NODE:
            raise RefusedError(500, "", f"Agent for node id: {node_id} doesn't exist.")
        self._advance()
        _, job_id, *path = [*name.split("/"), "", ""]
        job = self.jobs.get(job_id) or self._past.get(job_id)
        found = runs.files(job, self.clock.now()) if job and name.startswith("ftorch/") else {}
        content = found.get("/".join(path).strip("/"))
        if content is None:
            raise RefusedError(500, "", f"A file is not found at: /tmp/ray/{self.session}/logs/{name}")
        return content

    def resources(self) -> str:
        """As the autoscaler writes it."""
        busy = [job for job in self.all() if job.status(self.clock.now()) == "RUNNING"]
        cpus, gpus = sum(job.cpus for job in busy), sum(job.gpus for job in busy)
        return f"Cluster status: 1 nodes\n - ResourceUsage: {cpus:g}/{self.cpus:g} CPU, {gpus:g}/{self.gpus:g} GPU"

    # time

    def _advance(self) -> None:
        """Start what has room, in order, and end what has come to its end, moment by moment."""
        now = self.clock.now()
        while moment := min((at for job in self.jobs.values() for at in self._moments(job) if at <= now), default=None):
            for job in list(self.jobs.values()):
                self._happen(job, moment)

    def _moments(self, job: Job) -> Iterator[datetime]:
        """When something may happen to a job that has not begun."""
        if job.started_at is not None or job.ending is not None:
            return
        ready = job.created_at + timedelta(seconds=jobs.START_S)
        if (free := self._free_at(job, ready)) is not None:
            yield free
        yield job.created_at + timedelta(seconds=START_TIMEOUT_S)

    def _happen(self, job: Job, moment: datetime) -> None:
        if moment not in set(self._moments(job)):
            return
        if moment >= job.created_at + timedelta(seconds=START_TIMEOUT_S):
            words = f"Job supervisor actor failed to start within {START_TIMEOUT_S} seconds."
            job.ending = Ending(moment, "FAILED", words, "JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
            return
        if missing := self._missing_package(job):
            words = f"runtime_env setup failed: Failed to download runtime_env file package {missing} from the GCS"
            job.ending = Ending(moment + timedelta(seconds=2), "FAILED", words, "RUNTIME_ENV_SETUP_FAILURE")
            return
        job.started_at = moment
        if job.work is not None:
            self._training.start(job.work)
        job.ending = job.natural_ending()
        if job.stop_asked:
            # It runs for a moment, in which its command has not begun yet.
            job.ending = replace(jobs.stopped(moment + timedelta(milliseconds=100)), said="")
            job.spec = None

    def _free_at(self, job: Job, ready: datetime) -> datetime | None:
        """When the cluster has room for a job, from `ready` on; None: never, as far as anybody knows."""
        ahead = [one for one in self.jobs.values() if one.started_at is not None]
        moments = sorted({ready, *(one.ending.at for one in ahead if one.ending and one.ending.at > ready)})
        for moment in moments:
            busy = [one for one in ahead if one.status(moment) == "RUNNING"]
            cpus, gpus = (sum(getattr(one, name) for one in busy) for name in ("cpus", "gpus"))
            if cpus + job.cpus <= self.cpus and gpus + job.gpus <= self.gpus:
                return moment
        return None

    def _missing_package(self, job: Job) -> str:
        uri = str(job.order.get("runtime_env", {}).get("working_dir", ""))
        return uri if uri and uri.rpartition("/")[2] not in self.packages else ""

    def _end(self, job: Job, ending: Ending) -> None:
        """End a job early. One that has ended stays as it is."""
        if not job.is_over(self.clock.now()):
            job.ending = ending

    def settle(self, job: Job) -> None:
        """A genuine training that needs longer than its time keeps the job running."""
        now = self.clock.now()
        ending = job.ending
        if ending is None or ending.said != "succeeded" or now < ending.at or job.outcome or job.work is None:
            return
        outcome = self._training.outcome(job.work)
        if outcome is None:
            job.ending = replace(ending, at=now + timedelta(seconds=1))
        elif outcome.error:
            job.ending = jobs.failed(now, 70, outcome.error)
        else:
            job.outcome = outcome

    def _left(self, job: Job) -> float:
        """What the earlier run had done by its last checkpoint need not be done again."""
        key = job.env.get("FTORCH_RESUME_FROM", "")
        earlier = self.jobs.get(key) or self._past.get(key)
        done = earlier.step(self.clock.now()) if earlier else 0
        return max(jobs.TRAIN_S * (jobs.STEPS - done) / jobs.STEPS, jobs.TRAIN_S / jobs.STEPS)

    def _ordered(self, order: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, Work | None]:
        """The trainer's spec in the package and what it asks for; nothing where the job is not one of ours."""
        uri = str(order.get("runtime_env", {}).get("working_dir", ""))
        package = self.packages.get(uri.rpartition("/")[2])
        if package is None:
            return None, None
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            spec = json.loads(archive.read("bundle/job.json"))
            return spec, _work(spec, archive)


def _work(spec: Mapping[str, Any], archive: zipfile.ZipFile) -> Work:
    train = _rows(archive, spec["train_file"])
    lora = spec["lora"]
    extra = {"sft": ("train_on",), "dpo": ("beta",)}[spec["method"]]
    return Work(
        base_model=spec["base_model"]["id"],
        method=spec["method"],
        rows=train,
        validation_rows=_rows(archive, spec.get("validation_file")),
        rank=lora["rank"],
        alpha=lora["alpha"],
        dropout=lora["dropout"],
        targets=lora["targets"] if isinstance(lora["targets"], str) else tuple(lora["targets"]),
        tokens=sum(len(json.dumps(row)) // 4 for row in train) * max(int(spec["epochs"]), 1),
        values={name: spec[name] for name in (*_SPEC_VALUES, *extra) if spec.get(name) is not None},
    )


def _rows(archive: zipfile.ZipFile, name: str | None) -> tuple[Mapping[str, Any], ...]:
    if name is None:
        return ()
    return tuple(json.loads(line) for line in archive.read(f"bundle/{name}").splitlines() if line.strip())
