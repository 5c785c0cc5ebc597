"""What goes wrong at Lambda, as it was met in the field: at most one machine per run, and none afterwards."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from crash.rented import Rented, slow
from ftorch.core.money import Money
from ftorch.emulators.boxes.box import Gpu
from ftorch.emulators.lambda_cloud.emulator import LAUNCH, TERMINATE
from ftorch.emulators.lambda_cloud.service import Fate
from ftorch.emulators.server import Fault
from ftorch.manifest.schema import Budget, Resources


@pytest.fixture
def rented(tmp_path: Path) -> Iterator[Rented]:
    with slow(tmp_path) as one:
        yield one


def is_ended(rented: Rented, job: str, number: int = 0) -> bool:
    runs = rented.runs(job)
    return len(runs) > number and runs[number].ended_at is not None


def test_a_the_connection_is_cut_while_the_adapter_comes_home(rented: Rented) -> None:
    rented.service.furnish = lambda box: box.fault("send", "cut", times=2)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert rented.faults(job) == []
    assert Path(rented.job(job).adapter or "", "adapter_model.safetensors").is_file()


def test_b_the_answer_to_the_launch_is_lost(rented: Rented) -> None:
    rented.emulator.script(LAUNCH, Fault.DROP_AFTER)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert rented.emulator.requests[LAUNCH] == 1
    assert rented.faults(job) == []


def test_b_the_answer_is_lost_and_the_machine_is_listed_late(rented: Rented) -> None:
    rented.service.listing_lag_s = 45
    rented.emulator.script(LAUNCH, Fault.UNAVAILABLE_AFTER)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert rented.emulator.requests[LAUNCH] == 1
    assert rented.faults(job) == []


def test_b_a_launch_that_never_arrived_is_sent_once_more(rented: Rented) -> None:
    rented.emulator.script(LAUNCH, Fault.DROP_BEFORE)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert (rented.emulator.requests[LAUNCH], len(rented.service.machines)) == (2, 1)
    assert rented.faults(job) == []


def test_c_no_capacity_although_the_catalogue_said_yes(rented: Rented) -> None:
    rented.emulator.script(LAUNCH, Fault.NO_CAPACITY)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    (machine,) = rented.service.machines.values()
    assert (machine.order.instance_type_name, machine.order.region_name) == ("gpu_1x_a10", "us-west-1")
    assert rented.faults(job) == []


def test_c_no_capacity_anywhere_costs_no_launch_and_is_tried_again(rented: Rented) -> None:
    rented.service.room = {}
    job = rented.submit()
    rented.run_until(lambda: is_ended(rented, job))
    assert rented.emulator.requests[LAUNCH] == 0

    rented.service.room = {"gpu_1x_a10": ("us-east-1",)}

    assert rented.finish(job).state == "succeeded"
    assert rented.faults(job) == []


def test_f_a_strange_host_key_is_refused_and_another_machine_is_taken(rented: Rented) -> None:
    rented.service.fates = [Fate(has_our_host_key=False)]

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    first, _second = rented.runs(job)
    assert first.stop_reason == "hardware"
    assert rented.machines(first)[0].box.asked() == {}, "nothing was sent to a stranger"
    assert rented.faults(job) == []


def test_g_a_machine_that_vanishes_is_replaced(rented: Rented) -> None:
    rented.service.fates = [Fate(vanishes_after_s=30)]
    rented.service.training = {"seconds": 3}

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert len(rented.runs(job)) == 2
    assert rented.faults(job, exact=False) == []


def test_g_preempted_is_retried(rented: Rented) -> None:
    rented.service.training = {"seconds": 3}
    job = rented.submit()
    rented.run_until(lambda: [run.state for run in rented.runs(job)] == ["running"])

    rented.service.take_away(rented.machines(rented.runs(job)[0])[0], "preempted")

    assert rented.finish(job).state == "succeeded"
    assert [run.retry_event for run in rented.runs(job)] == ["preempted", None]
    assert rented.faults(job, exact=False) == []


@pytest.mark.parametrize("fate", [Fate(is_healthy=False), Fate(boots=False)], ids=["unhealthy", "stuck booting"])
def test_h_a_machine_that_never_comes_up_is_ended_and_costs_nothing(rented: Rented, fate: Fate) -> None:
    rented.service.fates = [fate]

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    first, second = rented.runs(job)
    assert first.stop_reason == "hardware"
    assert [rented.service.invoice(rented.machines(run)[0]) > 0 for run in (first, second)] == [False, True]
    assert rented.faults(job) == []


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (Gpu(cuda=802), "CUDA error 802"),
        (Gpu(cuda=None), "the CUDA driver is not installed"),
        (Gpu(names=()), "it shows no NVIDIA GPU"),
    ],
)
def test_a_dead_gpu_is_given_back_before_any_data_leaves(rented: Rented, gpu: Gpu, words: str) -> None:
    rented.service.fates = [Fate(gpu=gpu)]

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    first, second = (rented.machines(run)[0] for run in rented.runs(job))
    assert first.box.asked()["take"] == 0
    assert first.order.region_name != second.order.region_name, "the same place is not tried again at once"
    assert any(words in line for line in rented.told())
    assert rented.faults(job) == []


def test_three_dead_machines_are_enough_and_each_is_booked(rented: Rented) -> None:
    rented.service.fates = [Fate(gpu=Gpu(cuda=802)) for _ in range(5)]

    job = rented.submit(budget=Budget(limit=Money.parse("20.00 USD")))

    assert (rented.finish(job).state, rented.job(job).reason) == ("failed", "hardware")
    assert len(rented.runs(job)) == len(rented.service.machines) == 3
    assert rented.faults(job) == []


def test_i_a_storm_of_429_is_ridden_out(rented: Rented) -> None:
    for route in ("GET /instances", "GET /instances/{id}", TERMINATE, LAUNCH, "GET /ssh-keys"):
        rented.emulator.script(route, Fault.RATE_LIMITED, times=4, value="20")

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert len(rented.service.machines) == 1
    assert rented.faults(job) == []


def test_j_a_machine_that_is_started_twice_has_one_runner(rented: Rented) -> None:
    rented.service.training = {"seconds": 2}
    job = rented.submit()
    rented.run_until(lambda: [run.state for run in rented.runs(job)] == ["running"])
    run = rented.runs(job)[0]
    box = rented.machines(run)[0].box
    key = run.key

    laptop = rented.laptop
    machine = laptop.provider._machines.one(run.remote_id or "", "start")
    assert machine is not None
    assert laptop.provider._driver.box(machine).start(key, {}) is False

    assert rented.finish(job).state == "succeeded"
    events = [
        json.loads(line) for line in (box.home / "ftorch/runs" / key / "out/events.jsonl").read_text().splitlines()
    ]
    assert [event["event"] for event in events].count("started") == 1
    assert rented.faults(job) == []


def test_k_three_jobs_at_once_have_three_machines(rented: Rented) -> None:
    jobs = [rented.submit() for _ in range(3)]

    assert [rented.finish(job).state for job in jobs] == ["succeeded"] * 3
    assert len(rented.service.machines) == 3
    assert [fault for job in jobs for fault in rented.faults(job)] == []


def test_launches_keep_their_distance(tmp_path: Path) -> None:
    with slow(tmp_path, request_s=1.0, launch_s=12.0) as rented:
        jobs = [rented.submit() for _ in range(3)]
        for job in jobs:
            rented.finish(job)
        sent = [at for at, _, route in rented.emulator.asked_at if route == LAUNCH]
        asked = [at for at, _, _ in rented.emulator.asked_at]

        assert len(sent) == 3
        assert min((b - a).total_seconds() for a, b in pairwise(sent)) >= 12
        assert min((b - a).total_seconds() for a, b in pairwise(asked)) >= 1
        assert [fault for job in jobs for fault in rented.faults(job)] == []


def test_a_file_that_is_damaged_on_its_way_is_fetched_again(rented: Rented) -> None:
    rented.service.furnish = lambda box: box.fault("send", "damaged")

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert any("SHA-256 differs" in line for line in rented.told())
    assert rented.faults(job) == []


def test_a_full_disk_at_home_destroys_no_adapter(rented: Rented, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, left = os.fsync, [3]

    def full(descriptor: int) -> None:
        if left[0] and "adapter" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("ftorch.providers.ssh.box.os.fsync", full)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert left == [0]
    assert any("no space left" in line for line in rented.told())
    assert rented.faults(job) == []


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.UNAVAILABLE_AFTER, Fault.DROP_BEFORE])
def test_a_terminate_whose_answer_is_lost_is_proven(rented: Rented, fault: Fault) -> None:
    rented.emulator.script(TERMINATE, fault, times=2)

    job = rented.submit()

    assert rented.finish(job).state == "succeeded"
    assert rented.faults(job, exact=False) == []


def test_a_job_that_is_cancelled_leaves_nothing_and_its_log_is_home(rented: Rented) -> None:
    from ftorch.jobs.admit import ask_cancel

    rented.service.training = {"seconds": 5}
    job = rented.submit()
    rented.run_until(lambda: [run.state for run in rented.runs(job)] == ["running"])

    ask_cancel(rented.laptop.context, job)

    assert rented.finish(job).state == "cancelled"
    assert (rented.home.root / "lambda/logs" / rented.runs(job)[0].key / "trainer.log").stat().st_size > 0
    assert rented.faults(job) == []


def test_a_gpu_that_lambda_has_not_is_refused_in_words(rented: Rented) -> None:
    job = rented.submit(resources=Resources(gpu=("B900",)))

    rented.run_until(lambda: rented.job(job).failures > 0)

    assert any("lambda has no machine with B900" in line for line in rented.told())
