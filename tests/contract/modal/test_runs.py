"""Runs at Modal beyond the suites: queues, deadlines, preemption and memory."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.modal_bench import STEP_S, ModalBench, StandIn
from ftorch.core.clock import ManualClock
from ftorch.core.errors import (
    NoCapacityError,
    ProviderUnavailableError,
    SubmitUnknownError,
)
from ftorch.emulators.modal import ModalEmulator
from ftorch.emulators.modal.sandboxes import Status
from ftorch.emulators.server import Fault
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import RunOrder, RunRef, RunState

_WEIGHTS = "GET /files/adapter_model.safetensors"


def at_step(bench: ModalBench, ref: RunRef, step: int) -> None:
    """Let the run come to a step, seen from outside."""
    for _ in range(40):
        seen = bench.provider.observe([ref])[ref]
        if seen.progress and seen.progress.step >= step:
            return
        bench.advance(STEP_S)
    raise AssertionError(f"{ref.key} never came to step {step}")


def submitted_in_thread(bench: ModalBench, order: RunOrder) -> tuple[threading.Thread, list[object]]:
    """A create that blocks, and what comes of it."""
    results: list[object] = []

    def create() -> None:
        try:
            results.append(bench.provider.submit(order))
        except Exception as error:  # noqa: BLE001  told to the test
            results.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    deadline = time.monotonic() + 20
    while not bench.made(order.key) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bench.made(order.key) == 1
    return thread, results


# machines that are not there


def test_a_sandbox_that_waits_for_a_machine_is_ended_by_its_key(bench: ModalBench) -> None:
    order = bench.order()
    bench.service.full = {"T4"}
    thread, results = submitted_in_thread(bench, order)

    bench.provider.cancel(RunRef("modal", bench.provider.check().id, order.key))
    thread.join(20)

    [ref] = results
    assert isinstance(ref, RunRef)
    assert bench.provider.observe([ref])[ref].state is RunState.STOPPED
    assert bench.service.newest(order.key).status is Status.TERMINATED
    assert not bench.provider.charges(ref, ())


def test_a_machine_that_never_comes_is_no_capacity_and_leaves_nothing(
    bench: ModalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modal.sandbox._impl_v1._SANDBOX_SCHEDULING_TIMEOUT", 0.8)
    order = bench.order()
    bench.service.full = {"T4"}

    with pytest.raises(NoCapacityError):
        bench.provider.submit(order)

    assert bench.service.newest(order.key).status is Status.TERMINATED
    bench.service.full = set()
    assert not bench.provider.find([order.key]).get(order.key)


def test_a_machine_that_never_came_is_unknown_where_nobody_can_look(bench: ModalBench, emulator: ModalEmulator) -> None:
    order = bench.order()
    emulator.script("SandboxCreate", Fault.NO_CAPACITY)
    emulator.script("SandboxListV2", Fault.ERROR, times=None)

    with pytest.raises(SubmitUnknownError):
        bench.provider.submit(order)


def test_a_create_that_is_cut_by_our_deadline_leaves_no_sandbox_that_waits(bench: ModalBench) -> None:
    order = bench.order()
    bench.service.full = {"T4"}

    with pytest.raises(SubmitUnknownError):
        bench.provider.submit(order)

    assert bench.service.newest(order.key).status is Status.TERMINATED


# time and order


def test_a_dead_server_is_reported_within_our_deadline(bench: ModalBench) -> None:
    began_s = time.monotonic()

    with pytest.raises(ProviderUnavailableError):
        bench.unreachable().check()

    assert time.monotonic() - began_s < 5


def test_a_server_that_dies_is_reported_within_our_deadline(clock: ManualClock, work: StandIn, tmp_path: Path) -> None:
    with ModalEmulator(clock, folder=tmp_path / "modal", work=work) as emulator:
        bench = ModalBench(emulator, work, clock, tmp_path)
        ref = bench.running()
    began_s = time.monotonic()

    with pytest.raises(ProviderUnavailableError):
        bench.provider.observe([ref])

    assert time.monotonic() - began_s < 15
    bench.close()


# memory and preemption


def test_killed_at_the_same_step_twice_is_out_of_memory(bench: ModalBench) -> None:
    first = bench.running()
    at_step(bench, first, 6)
    bench.service.kill_for_memory(bench.sandbox(first))
    assert bench.provider.observe([first])[first].retry_event is RetryEvent.PREEMPTED

    second = bench.running(bench.order(resume_from=first))
    at_step(bench, second, 6)
    bench.service.kill_for_memory(bench.sandbox(second))

    seen = bench.provider.observe([second])[second]
    assert (seen.state, seen.retry_event, seen.exit_code) == (RunState.FAILED, None, 137)
    assert "out of memory" in seen.detail
    assert "step 6" in seen.detail


def test_killed_at_different_steps_it_goes_on(bench: ModalBench) -> None:
    first = bench.running()
    at_step(bench, first, 5)
    bench.service.preempt(bench.sandbox(first))

    second = bench.running(bench.order(resume_from=first))
    at_step(bench, second, 9)
    bench.service.preempt(bench.sandbox(second))

    seen = bench.provider.observe([second])[second]
    assert (seen.state, seen.retry_event) == (RunState.STOPPED, RetryEvent.PREEMPTED)


def test_a_run_goes_on_from_the_last_one_that_had_a_checkpoint(bench: ModalBench) -> None:
    first = bench.running()
    at_step(bench, first, 9)
    bench.service.preempt(bench.sandbox(first))
    second = bench.running(bench.order(resume_from=first))
    bench.service.preempt(bench.sandbox(second))

    third = bench.running(bench.order(resume_from=second))

    spec = json.loads(bench.volume.read(f"runs/{third.key}/job.json"))
    assert spec["resume_from"] == f"../../runs/{first.key}/out/checkpoints"


def test_checkpoints_go_when_the_adapter_is_made(bench: ModalBench) -> None:
    first = bench.running()
    at_step(bench, first, 5)
    bench.service.preempt(bench.sandbox(first))
    assert bench.provider.release(first)
    second = bench.submit(bench.order(resume_from=first))
    assert bench.volume.has(f"runs/{first.key}/out/checkpoints/checkpoint-4/.complete")

    bench.finish(second)
    bench.provider.release(second)

    left = [entry.path for entry in bench.volume.entries("runs", recursive=True) if "checkpoint" in entry.path]
    assert left == []


def test_a_sandbox_that_ran_out_of_time_is_timed_out(bench: ModalBench) -> None:
    ref = bench.running()
    sandbox = bench.sandbox(ref)
    sandbox.order = replace(sandbox.order, timeout_s=1)

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.exit_code) == (RunState.TIMED_OUT, 124)


def test_a_sandbox_that_ends_well_without_a_result_has_failed(bench: ModalBench) -> None:
    ref = bench.running()
    sandbox = bench.sandbox(ref)
    bench.service.ended(sandbox, 0)

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.retry_event) == (RunState.FAILED, None)
    assert "no result" in seen.detail


def test_a_sandbox_that_never_began_says_what_it_printed_last(bench: ModalBench) -> None:
    ref = bench.submit()
    sandbox = bench.sandbox(ref)
    bench.service.told(sandbox, "Traceback (most recent call last):\n")
    bench.service.told(sandbox, "OSError: the volume is not mounted\n")
    bench.crash(ref, 1)

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.retry_event, seen.exit_code) == (RunState.STOPPED, RetryEvent.CAPACITY, 1)
    assert seen.detail.endswith(
        "with exit code 1: Traceback (most recent call last):\nOSError: the volume is not mounted"
    )


def test_a_trainer_that_ended_before_its_first_word_says_what_it_printed_last(bench: ModalBench) -> None:
    ref = bench.running()
    bench.service.told(bench.sandbox(ref), "ImportError: libcudart.so\n")
    bench.crash(ref, 1)
    bench.volume.remove(f"runs/{ref.key}/out", recursive=True)

    seen = bench.provider.observe([ref])[ref]

    assert (seen.state, seen.exit_code) == (RunState.STOPPED, 1)
    assert seen.detail.endswith("ImportError: libcudart.so")


def test_a_log_that_cannot_be_had_keeps_no_end_from_being_told(bench: ModalBench, emulator: ModalEmulator) -> None:
    ref = bench.submit()
    bench.crash(ref, 1)
    emulator.script("AppFetchLogs", Fault.ERROR, times=None)

    seen = bench.provider.observe([ref])[ref]

    assert seen.detail.endswith("with exit code 1: it said nothing")


def test_only_a_kill_at_the_same_step_is_out_of_memory(bench: ModalBench) -> None:
    first = bench.running()
    at_step(bench, first, 6)
    bench.crash(first, 139)

    second = bench.running(bench.order(resume_from=first))
    at_step(bench, second, 6)
    bench.crash(second, 139)

    seen = bench.provider.observe([second])[second]
    assert (seen.state, seen.exit_code) == (RunState.STOPPED, 139)
    assert "memory" not in seen.detail
