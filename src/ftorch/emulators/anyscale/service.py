"""What Anyscale keeps, in memory and following a clock: compute configs, packages, jobs, a bill. Nothing of HTTP.

Tests reach into it: they lose, forget and bill late what is here, and compare with `truth`.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from ftorch.core.clock import Clock
from ftorch.emulators.anyscale.accounts import CLOUDS, Account, Cloud, cloud_of, default_cloud
from ftorch.emulators.anyscale.bill import Posting, Row, cluster_rows
from ftorch.emulators.anyscale.clusters import Cluster, machines
from ftorch.emulators.anyscale.jobs import SHUTDOWN_S, STOP_S, Job, JobRun
from ftorch.emulators.anyscale.schemas import ComputeConfig, CreateJob, ListJobs, Node, RunStatus
from ftorch.emulators.entrypoints import Entrypoint, Work
from ftorch.emulators.server import RefusedError

DEFAULT_BUILD = "bld_default_py311_ray2590"


@dataclass(frozen=True, slots=True)
class ComputeTemplate:
    """A compute config under an id; a name has versions."""

    id: str
    name: str
    version: int
    account: Account
    created_at: datetime
    config: ComputeConfig
    is_anonymous: bool


class Service:
    """All that Anyscale keeps."""

    def __init__(self, clock: Clock, work: Work) -> None:
        self.clock = clock
        self.posting = Posting()
        self.creates: Counter[str] = Counter()
        """Jobs made, by name."""
        self.queue_delay_s = 0.0
        """How long a new job waits for its machines."""
        self.listing_lag_s = 0.0
        """How long a new job is missing from lists; asking for its id finds it at once."""
        self.may_read_bill = True
        self.lost_clouds: set[str] = set()
        """Clouds that are gone; what they cost stays on the bill."""
        self.closed_clouds: set[str] = set()
        """Clouds that this token may not look at."""
        self.packages: dict[str, bytes] = {}
        """Uploaded content by its URI."""
        self.received: Counter[str] = Counter()
        """How often each URI was put."""
        self.templates: dict[str, ComputeTemplate] = {}
        self.builds: dict[str, str] = {}
        """Images by the id of their build."""
        self.lock = threading.RLock()
        self._work = work
        self._jobs: dict[str, Job] = {}
        self._billed: list[Job] = []
        self._strange: list[tuple[str, Row]] = []

    # compute configs, builds

    def default_template(self, cloud: Cloud, account: Account) -> ComputeTemplate:
        """A machine without accelerator, and whatever workers are wanted."""
        head = Node(name="head-node", instance_type="m5.2xlarge")
        config = ComputeConfig(cloud_id=cloud.id, head_node_type=head, auto_select_worker_config=True)
        found = ComputeTemplate(f"cpt_default_{cloud.id}", "default", 1, account, self.clock.now(), config, False)
        return self.templates.setdefault(found.id, found)

    def create_template(self, account: Account, config: ComputeConfig, name: str | None) -> ComputeTemplate:
        """Keep a config: the next version of its name, or one without a name."""
        if cloud_of(account.organisation, config.cloud_id) is None:
            raise RefusedError(404, "not_found", f"Cloud with ID '{config.cloud_id}' was not found.")
        machines(config)
        made = _id("cpt")
        version = len(self.named(account.organisation, name)) + 1 if name else 1
        template = ComputeTemplate(
            made, name or f"anonymous-{made}", version, account, self.clock.now(), config, name is None
        )
        self.templates[made] = template
        return template

    def named(self, organisation: str, name: str) -> list[ComputeTemplate]:
        """All versions, the newest first."""
        return [
            one
            for one in reversed(self.templates.values())
            if (one.account.organisation, one.name) == (organisation, name)
        ]

    def template(self, organisation: str, template_id: str) -> ComputeTemplate:
        found = self.templates.get(template_id)
        if found is None or found.account.organisation != organisation:
            raise RefusedError(404, "not_found", f"Compute config '{template_id}' was not found.")
        return found

    def build(self, image_uri: str) -> str:
        """The build of an image; the same image has one."""
        made = f"bld_{hashlib.sha256(image_uri.encode()).hexdigest()[:20]}"
        self.builds[made] = image_uri
        return made

    # jobs

    def create(self, account: Account, order: CreateJob) -> Job:
        """Make a job. Not idempotent: the same order again makes a second one, of the same name too."""
        template = self.template(account.organisation, order.config.compute_config_id)
        if order.config.build_id not in (DEFAULT_BUILD, *self.builds):
            raise RefusedError(404, "not_found", f"Build '{order.config.build_id}' was not found.")
        cloud = CLOUDS[template.config.cloud_id]
        now = self.clock.now()
        job = Job(
            id=_id("prodjob"),
            account=account,
            cloud_id=cloud.id,
            project_id=order.project_id or cloud.project,
            order=order,
            cluster=Cluster(_id("ses"), machines(template.config)),
            created_at=now,
            is_listed_at=now + timedelta(seconds=self.listing_lag_s),
            machines_at=now + timedelta(seconds=self.queue_delay_s),
            state_at=now,
        )
        self._jobs[job.id] = job
        self._billed.append(job)
        self.creates[order.name] += 1
        return job

    def job(self, organisation: str, job_id: str) -> Job:
        self.look()
        job = self._jobs.get(job_id)
        if job is None or job.account.organisation != organisation:
            raise RefusedError(404, "not_found", f"Production job with id '{job_id}' was not found.")
        return job

    def listed(self, organisation: str, asked: ListJobs) -> list[Job]:
        """Newest first, unless somebody asks for another order."""
        self.look()
        found = [job for job in self._jobs.values() if job.account.organisation == organisation]
        found = [job for job in found if job.is_listed_at <= self.clock.now() and _is_asked(job, asked)]
        return found if asked.sort_order == "ASC" else found[::-1]

    def run_of(self, organisation: str, run_id: str) -> JobRun:
        self.look()
        for job in self._jobs.values():
            for run in job.runs:
                if run.id == run_id and job.account.organisation == organisation:
                    return run
        raise RefusedError(404, "not_found", f"Job run '{run_id}' was not found.")

    def terminate(self, job: Job) -> None:
        """Let it end in a moment. Twice is harmless; one that has ended is refused."""
        if job.is_over:
            raise RefusedError(400, "invalid", f"Job {job.id} is in the terminal state {job.state}.")
        if job.stops_at is None:
            job.goal, job.stops_at = "TERMINATED", self.clock.now() + timedelta(seconds=STOP_S)

    def look(self) -> None:
        """Let time do its work."""
        with self.lock:
            self._work.look()
            for job in list(self._jobs.values()):
                if not job.is_over:
                    self._advance(job, self.clock.now())

    # the bill

    def rows(self, organisation: str) -> list[Row]:
        """All rows of the organisation that are on its bill by now, by day."""
        self.look()
        rows = [row for job in self._billed if job.account.organisation == organisation for row in self.usage(job)]
        rows += [row for whose, row in self._strange if whose == organisation]
        return sorted(self.posting.posted(rows, self.clock.now()), key=lambda row: (row.day, row.cluster_id))

    def usage(self, job: Job) -> list[Row]:
        """What a job's machines have cost by day until now, on the bill or not yet."""
        if not job.cluster.events:
            return []
        names = {**_names(job.account), "job_id": job.id, "job_name": job.order.name}
        cloud = CLOUDS[job.cloud_id]
        names |= {"cloud_id": cloud.id, "cloud_name": cloud.name, "project_id": job.project_id}
        return cluster_rows(job.cluster.events, names, self.clock.now(), is_hosted=cloud.is_hosted)

    def truth(self, job: Job) -> Decimal:
        """What the job costs on the bill in the end, in USD to the nano-dollar."""
        self.look()
        return sum((row.usd or Decimal(0) for row in self.usage(job)), Decimal(0))

    # for tests

    def newest(self, name: str) -> Job:
        """The newest job of a name, whoever's, forgotten ones too."""
        self.look()
        return next(job for job in reversed(self._billed) if job.order.name == name)

    def lose(self, job: Job) -> None:
        """Its machines are taken away while it runs."""
        self._work.lose(job.attempt_id)
        self._attempt_ended(job, "FAILED", self.clock.now(), "The head node was terminated unexpectedly.")

    def break_cluster(self, job: Job, why: str) -> None:
        """Its machines never came, or not as they should."""
        self._over(job, "BROKEN", self.clock.now(), why)

    def forget(self, job: Job) -> None:
        """Lose every trace of a job, except on the bill."""
        self._work.lose(job.attempt_id)
        job.cluster.down(self.clock.now())
        self._jobs.pop(job.id, None)

    def use(self, account: Account, day: date, usd: Decimal, **names: str) -> None:
        """Let somebody have used something that is no job of ours."""
        cloud = default_cloud(account.organisation)
        known = {**_names(account), "cloud_id": cloud.id, "cloud_name": cloud.name, "project_id": cloud.project}
        row = Row(day, _id("ses_strange"), usd, usd, {**known, **names}, self.clock.now())
        self._strange.append((account.organisation, row))

    # inside

    def _advance(self, job: Job, now: datetime) -> None:
        if not job.cluster.events and now >= job.machines_at:
            job.to("AWAITING_CLUSTER_START", job.machines_at)
            job.cluster.up(job.machines_at)
        if job.stops_at and now >= job.stops_at:
            self._terminated(job, job.stops_at)
        elif job.run is None and now >= job.starts_at and job.stops_at is None:
            self._attempt(job, now)
        elif (limit := job.times_out_at) and now >= limit and job.state == "RUNNING":
            self._work.stop(job.attempt_id)
            seconds = job.order.config.timeout_s
            self._attempt_ended(job, "FAILED", limit, f"The job run timed out after {seconds} seconds.")

    def _attempt(self, job: Job, now: datetime) -> None:
        run = JobRun(_id("job"), now)
        job.runs.append(run)
        job.to("RUNNING", now)
        env = job.order.config.runtime_env
        package = self.packages.get(env.working_dir or "") if env else None
        if env and env.working_dir and package is None:
            self._attempt_ended(job, "FAILED", now, f"Failed to download runtime_env file package {env.working_dir}")
            return
        variables = {**((env.env_vars if env else None) or {}), "ANYSCALE_PRODJOB_ID": job.id}
        order = Entrypoint(job.attempt_id, job.order.config.entrypoint, variables, package)
        self._work.start(order, lambda text: self._told(run, text), lambda code: self._ended(job, run, code))

    def _told(self, run: JobRun, text: str) -> None:
        with self.lock:
            run.lines.append(text)

    def _ended(self, job: Job, run: JobRun, code: int) -> None:
        """The entrypoint ended by itself."""
        with self.lock:
            if job.is_over or job.run is not run or run.finished_at:
                return
            if code == 0:
                run.status, run.finished_at = "SUCCEEDED", self.clock.now()
                self._over(job, "SUCCESS", self.clock.now())
            else:
                words = f"Job failed due to an application error: the entrypoint command failed with exit code {code}"
                self._attempt_ended(job, "FAILED", self.clock.now(), words)

    def _attempt_ended(self, job: Job, status: RunStatus, at: datetime, why: str) -> None:
        if job.run:
            job.run.status, job.run.finished_at = status, at
        if job.run and job.retries_left > 0:
            job.to("RESTARTING", at, why)
            self._attempt(job, self.clock.now())
        else:
            self._over(job, "OUT_OF_RETRIES", at, why)

    def _terminated(self, job: Job, at: datetime) -> None:
        self._work.stop(job.attempt_id)
        if job.run:
            job.run.status, job.run.finished_at = "STOPPED", at
        self._over(job, "TERMINATED", at)

    def _over(self, job: Job, state: str, at: datetime, why: str | None = None) -> None:
        job.to(state, at, why)  # type: ignore[arg-type]  # the callers' words are states
        job.cluster.down(at + timedelta(seconds=SHUTDOWN_S))


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:24]}"


def _names(account: Account) -> dict[str, str | None]:
    return {"user_id": account.user, "user_email": account.email, "user_name": account.user.removeprefix("usr_")}


def _is_asked(job: Job, asked: ListJobs) -> bool:
    tags: dict[str, set[str]] = {}
    for pair in asked.tag_filter:
        key, _, value = pair.partition(":")
        tags.setdefault(key, set()).add(value)
    return (
        (not asked.state_filter or job.state in asked.state_filter)
        and asked.archive_status in ("ALL", "ARCHIVED" if job.is_archived else "NOT_ARCHIVED")
        and asked.name in (None, job.order.name)
        and asked.project_id in (None, job.project_id)
        and asked.cloud_id in (None, job.cloud_id)
        and all(job.tags.get(key) in values for key, values in tags.items())
    )
