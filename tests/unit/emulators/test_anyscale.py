"""Anyscale's emulator from inside: clusters, attempts, the bill; and processes in the place of clusters."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import until
from ftorch.core.clock import ManualClock
from ftorch.emulators.anyscale import ORGANISATION, TOKEN, Service
from ftorch.emulators.anyscale.accounts import ACCOUNTS, CLOUDS, PER_HOUR, Cloud, default_cloud
from ftorch.emulators.anyscale.bill import cluster_rows
from ftorch.emulators.anyscale.clusters import Cluster, machines
from ftorch.emulators.anyscale.jobs import Job
from ftorch.emulators.anyscale.schemas import ComputeConfig, CreateJob, JobConfig, Node, PhysicalResources, WorkerGroup
from ftorch.emulators.anyscale.service import DEFAULT_BUILD
from ftorch.emulators.entrypoints import Ended, Entrypoint, Processes, Told
from ftorch.emulators.server import RefusedError

ADA = ACCOUNTS[TOKEN]
CLOUD = default_cloud(ORGANISATION)


@dataclass
class Idle:
    """Entrypoints that end when the test says so."""

    ends: dict[str, Ended] = field(default_factory=dict)

    def start(self, order: Entrypoint, told: Told, ended: Ended) -> None:
        self.ends[order.job_id] = ended

    def stop(self, job_id: str) -> None:
        self.ends.pop(job_id, None)

    def lose(self, job_id: str) -> None:
        self.ends.pop(job_id, None)

    def look(self) -> None:
        """Nothing goes on."""

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def work() -> Idle:
    return Idle()


@pytest.fixture
def service(clock: ManualClock, work: Idle) -> Service:
    return Service(clock, work)


def gpu(accelerator: str, **changes: object) -> Node:
    wanted = PhysicalResources(cpu=8, gpu=1, memory=1 << 34, accelerator=accelerator)
    return Node.model_validate({"name": "n", "instance_type": "custom", "required_resources": wanted, **changes})


def config(cloud: Cloud = CLOUD, workers: int = 0) -> ComputeConfig:
    group = WorkerGroup(**gpu("L4").model_dump(), min_workers=workers, max_workers=workers)
    return ComputeConfig(cloud_id=cloud.id, head_node_type=gpu("T4"), worker_node_types=[group] if workers else [])


def submit(service: Service, cloud: Cloud = CLOUD, **changes: object) -> Job:
    template = service.create_template(ADA, config(cloud), None)
    order = {"entrypoint": "true", "build_id": DEFAULT_BUILD, "compute_config_id": template.id, **changes}
    return service.create(ADA, CreateJob(name="support", config=JobConfig.model_validate(order)))


def running(service: Service, clock: ManualClock, **changes: object) -> Job:
    job = submit(service, **changes)  # type: ignore[arg-type]  # names of fields
    clock.advance(10)
    service.look()
    assert job.state == "RUNNING"
    return job


def test_a_cluster_has_a_head_and_each_worker_of_its_groups() -> None:
    assert machines(config(workers=3)) == ("T4", "L4", "L4", "L4")


@pytest.mark.parametrize(
    "node",
    [
        Node(name="n", instance_type="p9.huge"),
        Node(name="n"),
        gpu("B9000"),
        Node(name="n", instance_type="custom", required_resources=PhysicalResources(cpu=8, gpu=1, accelerator="T4")),
        Node(name="n", instance_type="custom", required_resources=PhysicalResources(memory=1, accelerator="T4")),
    ],
)
def test_a_machine_that_nobody_offers_is_refused(service: Service, node: Node) -> None:
    wanted = ComputeConfig(cloud_id=CLOUD.id, head_node_type=node)

    with pytest.raises(RefusedError):
        service.create_template(ADA, wanted, None)


def test_a_job_waits_for_machines_boots_runs_and_ends(service: Service, clock: ManualClock, work: Idle) -> None:
    service.queue_delay_s = 100
    job = submit(service)
    states = []
    for _ in range(3):
        service.look()
        states.append(job.state)
        clock.advance(101 if len(states) == 1 else 10)
    work.ends[job.attempt_id](0)

    assert [*states, job.state] == ["PENDING", "AWAITING_CLUSTER_START", "RUNNING", "SUCCESS"]


def test_who_names_no_number_of_retries_gets_one(service: Service, clock: ManualClock, work: Idle) -> None:
    job = running(service, clock)
    work.ends[job.attempt_id](1)
    assert job.state == "RUNNING"
    work.ends[job.attempt_id](1)

    assert (job.state, len(job.runs)) == ("OUT_OF_RETRIES", 2)
    assert "exit code 1" in (job.error or "")


def test_without_retries_the_first_failure_is_the_last(service: Service, clock: ManualClock, work: Idle) -> None:
    job = running(service, clock, max_retries=0)

    work.ends[job.attempt_id](3)

    assert (job.state, len(job.runs)) == ("OUT_OF_RETRIES", 1)


def test_a_run_ends_at_its_time_out(service: Service, clock: ManualClock) -> None:
    job = running(service, clock, max_retries=0, timeout_s=60)
    clock.advance(61)
    service.look()

    assert (job.state, job.error) == ("OUT_OF_RETRIES", "The job run timed out after 60 seconds.")


def test_a_job_without_its_package_fails(service: Service, clock: ManualClock) -> None:
    job = submit(service, max_retries=0, runtime_env={"working_dir": "s3://nowhere/pkg.zip"})
    clock.advance(10)
    service.look()

    assert (job.state, "Failed to download" in (job.error or "")) == ("OUT_OF_RETRIES", True)


def test_a_terminated_job_ends_in_a_moment_and_an_ended_one_refuses(service: Service, clock: ManualClock) -> None:
    job = running(service, clock)
    service.terminate(job)
    service.terminate(job)
    assert (job.state, job.goal) == ("RUNNING", "TERMINATED")
    clock.advance(5)
    service.look()

    assert job.state == "TERMINATED"
    with pytest.raises(RefusedError, match="terminal state TERMINATED"):
        service.terminate(job)


# the bill


def test_a_machine_costs_from_when_it_is_there_to_when_it_is_gone(
    service: Service, clock: ManualClock, work: Idle
) -> None:
    job = running(service, clock)  # there for 10 s, 5 of them booting
    clock.advance(3590)
    work.ends[job.attempt_id](0)
    clock.advance(1000)

    [row] = service.usage(job)
    assert row.usd == (PER_HOUR["T4"] * 3601 / 3600).quantize(Decimal("1e-9"))


def test_a_cluster_has_a_row_for_each_utc_day() -> None:
    clock = ManualClock()  # at noon
    cluster = Cluster("ses", ("T4", "L4"))
    cluster.up(clock.now())
    cluster.down(clock.now() + timedelta(hours=36))

    rows = cluster_rows(cluster.events, {}, clock.now() + timedelta(days=9), is_hosted=True)

    both = PER_HOUR["T4"] + PER_HOUR["L4"]
    day = clock.now().date()
    assert [(row.day, row.usd) for row in rows] == [(day, 12 * both), (day + timedelta(days=1), 24 * both)]


def test_a_cluster_that_never_came_up_has_no_row(service: Service) -> None:
    job = submit(service)
    job.cluster.down(service.clock.now())

    assert service.usage(job) == []


def test_in_a_cloud_of_ones_own_the_fee_alone_is_on_the_bill(service: Service, clock: ManualClock, work: Idle) -> None:
    jobs = [running(service, clock, cloud=CLOUDS[name]) for name in ("cld_tinyhosted", "cld_tinyaws")]
    for job in jobs:
        clock.advance(100)
        work.ends[job.attempt_id](0)

    hosted, own = (service.usage(job)[0] for job in jobs)

    assert (hosted.names["cloud_name"], own.names["cloud_name"]) == ("hosted", "tiny-aws")
    spans = [(job.cluster.events[-1].at - job.cluster.events[0].at).total_seconds() for job in jobs]
    assert own.usd == (PER_HOUR["T4"] * int(spans[1]) / 3600 * Decimal("0.2")).quantize(Decimal("1e-9"))


def test_a_row_appears_late_and_a_single_one_later_still(service: Service, clock: ManualClock, work: Idle) -> None:
    job = running(service, clock)
    work.ends[job.attempt_id](0)
    [row] = service.usage(job)
    assert service.rows(ORGANISATION) == []
    service.posting.late[row.cluster_id, row.day] = 2 * 86400
    clock.advance(86400)
    assert service.rows(ORGANISATION) == []
    clock.advance(86401)

    assert [one.usd for one in service.rows(ORGANISATION)] == [row.usd]


def test_what_others_use_is_on_the_bill_without_a_job_of_ours(service: Service, clock: ManualClock) -> None:
    service.use(ADA, date(2026, 11, 1), Decimal("3.5"), workspace_name="notebook")
    clock.advance(3601)

    [row] = service.rows(ORGANISATION)

    assert (row.usd, row.names.get("job_id"), row.names["workspace_name"]) == (Decimal("3.5"), None, "notebook")


# processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "clusters")
    yield made
    made.close()


def package(*, top: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{top}main.py", "import os\nprint('at', os.environ['PLACE'])\n")
        archive.writestr(f"{top}data/rows.jsonl", "{}\n")
    return content.getvalue()


@dataclass
class Heard:
    """What an entrypoint printed, and how it ended."""

    lines: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.over.set()


@pytest.mark.parametrize("top", ["", "ftorch-job/"])
def test_an_entrypoint_runs_in_its_package_with_its_variables(processes: Processes, top: str) -> None:
    heard = Heard()
    order = Entrypoint("job-1", "python main.py && test -f data/rows.jsonl", {"PLACE": "home"}, package(top=top))

    processes.start(order, heard.lines.append, heard.end)

    assert heard.over.wait(30)
    assert (heard.lines, heard.codes) == (["at home\n"], [0])


def test_the_exit_code_is_told(processes: Processes) -> None:
    heard = Heard()

    processes.start(Entrypoint("job-1", "exit 3", {}, None), heard.lines.append, heard.end)

    assert heard.over.wait(30)
    assert heard.codes == [3]


def test_an_entrypoint_that_is_stopped_is_asked_first_and_its_end_not_told(processes: Processes) -> None:
    heard = Heard()
    words = "trap 'echo saving; exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    processes.start(Entrypoint("job-1", words, {}, None), heard.lines.append, heard.end)
    until(lambda: heard.lines)

    processes.stop("job-1")
    processes.close()

    assert (heard.lines[0], heard.lines[-1], heard.codes) == ("ready\n", "saving\n", [])


def test_an_entrypoint_sees_no_secret_of_this_machine(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYSCALE_CLI_TOKEN", TOKEN)
    heard = Heard()

    processes.start(Entrypoint("job-1", "env", {}, None), heard.lines.append, heard.end)

    assert heard.over.wait(30)
    assert not [line for line in heard.lines if TOKEN in line]
