"""What a cluster does that no other provider does, on the emulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.bucket import open_bucket
from contract.ray_bench import RayBench
from ftorch.core.clock import ManualClock
from ftorch.core.errors import ProviderUnavailableError, RunRejectedError
from ftorch.emulators.ray import RayEmulator
from ftorch.emulators.server import Fault, RefusedError
from ftorch.manifest.fields import SecretPlace
from ftorch.manifest.schema import Resources, RetryEvent
from ftorch.providers.base import RunRef, RunState
from ftorch.providers.ray_jobs import package as packing

_PUT, _POST = "PUT /api/packages/gcs/{name}", "POST /api/jobs/"
_STATUS = "GET /api/v0/logs/file?status"


@pytest.fixture
def emulator() -> Iterator[RayEmulator]:
    with RayEmulator(ManualClock(), gpus=2) as emulator:
        yield emulator


@pytest.fixture
def bench(emulator: RayEmulator, tmp_path: Path) -> Iterator[RayBench]:
    clock = emulator.clock
    assert isinstance(clock, ManualClock)
    bench = RayBench(emulator, clock, tmp_path)
    yield bench
    bench.close()


def _order_of(emulator: RayEmulator, key: str) -> dict[str, Any]:
    return dict(emulator.cluster.job(key).order)


def test_one_process_takes_a_gpu_and_several_workers_leave_it_to_ray_train(
    bench: RayBench, emulator: RayEmulator
) -> None:
    alone = _order_of(emulator, bench.submit().key)
    plan = bench.plan.model_copy(update={"resources": Resources(workers=2)})
    several = _order_of(emulator, bench.submit(bench.order(plan=plan)).key)

    assert alone["entrypoint_num_gpus"] == 1
    assert not {name for name in several if name.startswith("entrypoint_num")}
    assert several["runtime_env"]["env_vars"]["FTORCH_WORKERS"] == "2"


def test_without_a_gpu_one_process_takes_a_core(bench: RayBench, emulator: RayEmulator) -> None:
    plan = bench.plan.model_copy(update={"options": {"ray": {"cpu": True, "install": True}}})

    order = _order_of(emulator, bench.submit(bench.order(plan=plan)).key)

    assert (order["entrypoint_num_cpus"], order.get("entrypoint_num_gpus")) == (1, None)
    assert order["runtime_env"]["env_vars"]["FTORCH_USE_GPU"] == "0"
    assert any(line.startswith("trl") for line in order["runtime_env"]["pip"])


def test_workers_on_several_nodes_need_a_storage_that_all_of_them_reach(bench: RayBench, emulator: RayEmulator) -> None:
    emulator.cluster.nodes = 3
    several = bench.plan.model_copy(update={"resources": Resources(workers=2)})

    with pytest.raises(RunRejectedError, match="the cluster has 3 nodes") as caught:
        bench.provider.stage(several, bench.bundle)

    assert "output_uri" in (caught.value.hint or "")
    assert emulator.requests[_PUT] == 0
    stored = several.model_copy(update={"options": {"ray": {"output_uri": "file:///mnt/runs"}}})
    assert bench.provider.stage(stored, bench.bundle).ready


def test_nothing_of_this_machine_is_in_the_order(bench: RayBench, emulator: RayEmulator, tmp_path: Path) -> None:
    ref = bench.submit()

    assert str(tmp_path) not in json.dumps(_order_of(emulator, ref.key))


def test_a_package_that_the_cluster_has_dropped_is_brought_again(bench: RayBench, emulator: RayEmulator) -> None:
    order = bench.order()
    emulator.cluster.packages.clear()

    ref = bench.submit(order)

    assert bench.finish(ref).state is RunState.SUCCEEDED
    assert emulator.requests[_PUT] == 2


def test_a_package_that_is_nowhere_any_more_is_said_so(bench: RayBench, emulator: RayEmulator) -> None:
    order = bench.order()
    emulator.cluster.packages.clear()
    Path(order.staged.detail["package"]).unlink()

    with pytest.raises(RunRejectedError, match="no longer in"):
        bench.submit(order)

    assert emulator.requests[_POST] == 0


def test_a_package_too_large_is_refused_before_anything_is_sent(
    bench: RayBench, emulator: RayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 100)

    with pytest.raises(RunRejectedError, match=r"largest: train\.jsonl"):
        bench.provider.stage(bench.plan, bench.bundle)

    assert emulator.requests.total() == 0


def test_the_dashboards_413_is_told_in_its_words(bench: RayBench, emulator: RayEmulator) -> None:
    emulator.cluster.receive = lambda *_: type(emulator.cluster).receive(  # type: ignore[method-assign]
        emulator.cluster, "any", bytes((100 << 20) + 1)
    )

    with pytest.raises(RunRejectedError, match="413: Maximum request body size 104857600 exceeded"):
        bench.provider.stage(bench.plan, bench.bundle)


def test_an_id_that_another_create_has_taken_meanwhile_is_the_same_run(bench: RayBench, emulator: RayEmulator) -> None:
    order = bench.order()
    created = emulator.cluster.create

    def create_twice(body: Any) -> Any:
        created(body)
        return created(body)

    emulator.cluster.create = create_twice  # type: ignore[method-assign,assignment]

    ref = bench.submit(order)

    assert bench.provider.find([order.key]) == {order.key: [ref]}
    assert emulator.cluster.creates[order.key] == 1


def test_any_other_500_has_made_nothing_and_may_pass(bench: RayBench, emulator: RayEmulator) -> None:
    order = bench.order()
    emulator.script(_POST, Fault.ERROR)

    with pytest.raises(ProviderUnavailableError, match="ray stumbled"):
        bench.submit(order)

    assert emulator.cluster.creates[order.key] == 0
    assert bench.submit(order).key == order.key


def test_a_wandb_key_is_refused_because_everybody_could_read_it(bench: RayBench) -> None:
    plan = bench.plan.model_copy(update={"secrets": {"WANDB_API_KEY": SecretPlace("env:WANDB_API_KEY")}})

    with pytest.raises(RunRejectedError, match="ray shows the environment") as caught:
        bench.provider.stage(plan, bench.bundle)

    assert "leave it out of the manifest" in (caught.value.hint or "")


def test_an_output_uri_that_cannot_be_opened_is_refused_before_anything_is_sent(
    bench: RayBench, emulator: RayEmulator
) -> None:
    plan = bench.plan.model_copy(update={"options": {"ray": {"output_uri": "s4://bucket"}}})

    with pytest.raises(RunRejectedError, match="s4://bucket"):
        bench.provider.stage(plan, bench.bundle)

    assert emulator.requests.total() == 0


def test_a_run_waits_for_room_and_says_what_the_cluster_has(bench: RayBench) -> None:
    first, second = bench.running(), bench.running()
    waiting = bench.submit()
    bench.advance(5)

    assert bench.provider.observe([waiting])[waiting].state is RunState.QUEUED
    for _ in range(3):
        bench.advance(39)
        seen = bench.provider.observe([waiting])[waiting]
    assert {bench.provider.observe([one])[one].state for one in (first, second)} == {RunState.SUCCEEDED}
    assert seen.state is RunState.RUNNING


def test_a_cluster_that_does_not_say_what_it_has_hides_no_run(bench: RayBench, emulator: RayEmulator) -> None:
    done = bench.submit()
    bench.finish(done)
    emulator.cluster.gpus = 0
    waiting = bench.submit()
    bench.advance(150)
    emulator.script("GET /api/cluster_status", Fault.REFUSED_KEY, times=None)

    seen = bench.provider.observe([done, waiting])

    assert (seen[done].state, seen[waiting].detail) == (RunState.SUCCEEDED, "waits for room")


def test_a_run_that_never_finds_room_says_what_the_cluster_has_and_ends_by_rays_own_limit(
    bench: RayBench, emulator: RayEmulator
) -> None:
    emulator.cluster.gpus = 0
    ref = bench.submit()
    bench.advance(150)

    waiting = bench.provider.observe([ref])[ref]
    bench.advance(800)
    ended = bench.provider.observe([ref])[ref]

    assert "0/64 CPU, 0/0 GPU" in waiting.detail
    assert (ended.state, ended.retry_event) == (RunState.FAILED, RetryEvent.CAPACITY)
    assert bench.provider.charges(ref, ()) == ()


def test_a_waiting_run_that_is_cancelled_goes_on_waiting_and_ends_when_its_turn_has_come(
    bench: RayBench, emulator: RayEmulator
) -> None:
    emulator.cluster.gpus = 0
    ref = bench.submit()
    bench.provider.cancel(ref)
    bench.advance(60)
    before = bench.provider.observe([ref])[ref].state

    emulator.cluster.gpus = 2

    assert before is RunState.QUEUED
    bench.until(RunState.STOPPED, ref)
    assert bench.provider.charges(ref, ()) == ()


def test_a_new_session_is_no_failure_of_the_run(bench: RayBench, emulator: RayEmulator) -> None:
    ref = bench.running()
    emulator.cluster.restart()

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.retry_event) == (RunState.ABSENT, RetryEvent.PREEMPTED)
    assert "started anew" in seen.detail
    assert bench.provider.release(ref) is True


def test_a_run_that_is_submitted_after_a_restart_lives_in_the_new_session(
    bench: RayBench, emulator: RayEmulator
) -> None:
    first = bench.submit()
    emulator.cluster.restart()

    second = bench.submit()

    assert first.place != second.place
    assert bench.finish(second).state is RunState.SUCCEEDED


def test_the_log_of_a_released_run_is_still_there(bench: RayBench, emulator: RayEmulator) -> None:
    ref = bench.submit()
    bench.finish(ref)
    before = bench.provider.logs(ref, cursor=None)

    while not bench.provider.release(ref):
        bench.wait()

    assert ref.key not in emulator.cluster.jobs
    assert bench.provider.logs(ref, cursor=None) == before


def test_a_deleted_job_that_comes_back_without_its_log_hides_none(
    bench: RayBench, emulator: RayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = bench.submit()
    bench.finish(ref)
    job = emulator.cluster.job(ref.key)
    before = bench.provider.logs(ref, cursor=None)

    bench.provider.release(ref)
    emulator.cluster.jobs[ref.key] = job
    monkeypatch.setattr("ftorch.emulators.ray.runs.log", lambda _job, _now: "")

    assert before.lines
    assert bench.provider.logs(ref, cursor=None) == before


def test_a_deleted_job_that_comes_back_is_deleted_again(bench: RayBench, emulator: RayEmulator) -> None:
    ref = bench.submit()
    bench.finish(ref)
    job = emulator.cluster.job(ref.key)

    bench.provider.release(ref)
    emulator.cluster.jobs[ref.key] = job  # as Ray 2.60 does when it is told so too early

    assert bench.provider.release(ref) is False
    assert bench.provider.release(ref) is True
    assert emulator.requests["DELETE /api/jobs/{id}"] == 2


def test_a_running_job_is_not_released(bench: RayBench) -> None:
    assert bench.provider.release(bench.running()) is False


def test_few_runs_are_asked_for_singly_and_many_by_one_list(bench: RayBench, emulator: RayEmulator) -> None:
    refs = [bench.submit() for _ in range(6)]
    emulator.requests.clear()

    bench.provider.observe(refs[:5])
    few = dict(emulator.requests)
    emulator.requests.clear()
    bench.provider.observe(refs)

    assert (few, emulator.requests) == ({"GET /api/jobs/{id}": 5}, {"GET /api/jobs/": 1})


def test_among_many_each_run_is_asked_once_when_it_began(bench: RayBench, emulator: RayEmulator) -> None:
    emulator.cluster.gpus = 6
    refs = [bench.submit() for _ in range(6)]
    bench.advance(3)
    emulator.requests.clear()

    first = bench.provider.observe(refs)
    bench.advance(3)
    second = bench.provider.observe(refs)

    began = {ref: seen.billable_from for ref, seen in first.items()}
    assert None not in began.values()
    assert {ref: seen.billable_from for ref, seen in second.items()} == began
    assert emulator.requests == {"GET /api/jobs/": 2, _STATUS: 6}


def test_many_runs_that_vanish_are_each_charged_to_the_last_look(bench: RayBench, emulator: RayEmulator) -> None:
    emulator.cluster.gpus = 6
    refs = [bench.submit() for _ in range(6)]
    bench.advance(11)
    history = [bench.provider.observe(refs)]
    bench.advance(20)
    history.append(bench.provider.observe(refs))
    emulator.cluster.restart()
    bench.advance(5000)
    history.append(bench.provider.observe(refs))

    items = [item for ref in refs for item in bench.provider.charges(ref, [seen[ref] for seen in history])]

    assert {seen.state for seen in history[-1].values()} == {RunState.ABSENT}
    assert [item.quantity for item in items] == [30] * 6


def _far(bench: RayBench) -> RunRef:
    """A run that is copied to a bucket; the emulator copies nothing."""
    plan = bench.plan.model_copy(update={"options": {"ray": {"output_uri": "bucket://runs"}}})
    return bench.submit(bench.order(plan=plan, staged=bench.provider.stage(plan, bench.bundle)))


def test_a_run_whose_storage_refuses_us_is_charged_by_what_its_log_says(bench: RayBench, tmp_path: Path) -> None:
    open_bucket("runs", tmp_path / "bucket").is_denied = True
    ref = _far(bench)

    seen = bench.until(RunState.SUCCEEDED, ref)

    [item] = bench.provider.charges(ref, [seen])
    assert (item.period.start, item.period.end) == (seen.billable_from, seen.billable_to)
    assert item.quantity == 62


def test_a_run_whose_storage_refuses_us_and_that_vanishes_is_charged_too(
    bench: RayBench, emulator: RayEmulator, tmp_path: Path
) -> None:
    open_bucket("runs", tmp_path / "bucket").is_denied = True
    ref = _far(bench)
    bench.advance(11)
    seen = bench.provider.observe([ref])[ref]
    emulator.cluster.restart()

    [item] = bench.provider.charges(ref, [seen])

    assert item.quantity == 10


def test_a_run_that_was_killed_and_whose_node_is_gone_may_be_started_again(
    bench: RayBench, emulator: RayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = bench.running()
    bench.advance(5)
    emulator.cluster.kill(ref.key)
    monkeypatch.setattr(emulator.cluster, "file", _no_file)

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.retry_event) == (RunState.STOPPED, RetryEvent.PREEMPTED)
    assert [item.period.end for item in bench.provider.charges(ref, [seen])] == [seen.billable_to]


def test_an_end_of_which_nothing_is_left_is_rays_and_its_log_holds_nothing_up(
    bench: RayBench, emulator: RayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = bench.running()
    before = bench.provider.observe([ref])[ref]
    bench.advance(5)
    emulator.cluster.kill(ref.key)
    monkeypatch.setattr(emulator.cluster, "file", _no_file)
    emulator.script("GET /api/jobs/{id}/logs", Fault.ERROR, times=None)
    killed_at = bench.clock.now()
    bench.advance(5000)

    seen = bench.provider.observe([ref])[ref]

    [item] = bench.provider.charges(ref, [before, seen])
    assert seen.state is RunState.FAILED
    assert (item.period.start, item.period.end) == (before.billable_from, killed_at)


def _no_file(_node: str, name: str) -> bytes:
    raise RefusedError(500, "", f"A file is not found at: /tmp/ray/session/logs/{name}")


def test_the_shape_of_an_order_is_not_changed_by_resuming_from_a_run_that_is_gone(
    bench: RayBench, emulator: RayEmulator
) -> None:
    gone = replace(bench.unknown(), key=bench.new_key())

    ref = bench.submit(bench.order(resume_from=gone))

    assert _order_of(emulator, ref.key)["runtime_env"]["env_vars"]["FTORCH_RESUME_FROM"] == gone.key


@pytest.mark.parametrize("fault", ["is_denied", "is_down"])
def test_a_storage_that_cannot_be_read_hides_no_other_run(bench: RayBench, tmp_path: Path, fault: str) -> None:
    bucket = open_bucket("runs", tmp_path / "bucket")
    hidden = _far(bench)
    bench.until(RunState.RUNNING, hidden)
    other = bench.submit()
    bench.until(RunState.RUNNING, other)

    setattr(bucket, fault, True)
    seen = bench.provider.observe([hidden, other])

    assert {ref: one.state for ref, one in seen.items()} == {hidden: RunState.RUNNING, other: RunState.RUNNING}
