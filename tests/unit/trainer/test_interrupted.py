"""Processes that are killed, told to stop, or run out of time: the adapter is the same to the last bit."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path

from ftorch.trainer.files import seconds_between
from unit.trainer.desk import Desk, running, wait_for


def test_run_killed_in_the_middle_of_a_step_ends_bit_identical(desk: Desk, undisturbed: Desk) -> None:
    spec = desk.sft(epochs=10)
    with running("train", spec, "--out", desk.out()) as process:
        wait_for(process, "step 25/60")
        process.kill()

    assert desk.train(spec) == 0

    assert desk.events("resume")[0]["checkpoint"] == "checkpoints/checkpoint-20"
    assert desk.adapter() == undisturbed.adapter()
    for name in ("trained_tokens", "loss_tokens", "final_loss", "fingerprint"):
        assert desk.result()[name] == undisturbed.result()[name]
    _check_that_killed_time_is_known(desk)


def _check_that_killed_time_is_known(desk: Desk) -> None:
    killed, finished = desk.result()["attempts"]
    assert (killed["from_step"], killed["how"]) == (0, "killed")
    assert (finished["from_step"], finished["how"]) == (20, "succeeded")
    assert killed["to_step"] >= 20
    assert 0 < killed["seconds"] <= seconds_between(killed["started_at"], finished["started_at"])


def test_run_told_to_stop_saves_and_ends_bit_identical_in_another_process(desk: Desk, undisturbed: Desk) -> None:
    spec = desk.sft(epochs=10)
    with running("train", spec, "--out", desk.out(), env={"PYTHONHASHSEED": "1"}) as process:
        wait_for(process, "step 25/60")
        process.send_signal(signal.SIGTERM)
        process.communicate()

    assert process.returncode == 75
    [interrupted] = desk.events("interrupted")
    assert interrupted["reason"] == "signal"
    assert interrupted["step"] >= 25
    with running("train", spec, "--out", desk.out(), env={"PYTHONHASHSEED": "7"}) as again:
        again.communicate()
    assert again.returncode == 0
    assert desk.events("resume")[0]["checkpoint"] == f"checkpoints/checkpoint-{interrupted['step']}"
    assert desk.adapter() == undisturbed.adapter()  # adapter_config.json too: PEFT writes its sets in hash order


def test_signal_while_libraries_are_imported_ends_at_once(desk: Desk) -> None:
    with running("train", desk.sft(), "--out", desk.out()) as process:
        wait_for(process, "loading the libraries")
        process.send_signal(signal.SIGINT)
        process.communicate()

    assert process.returncode == 75
    assert [event["event"] for event in desk.lines("events.jsonl")] == ["started", "phase", "interrupted"]
    assert desk.object("heartbeat.json")["phase"] == "import"


def test_deadline_before_the_first_step_ends_the_run(desk: Desk) -> None:
    with running("train", desk.sft(max_duration_s=0.1), "--out", desk.out()) as process:
        process.communicate()

    assert process.returncode == 75
    assert desk.events("interrupted")[0]["reason"] == "deadline"


def test_second_process_in_the_folder_leaves_at_once(desk: Desk) -> None:
    spec = desk.sft(epochs=2000)
    with running("train", spec, "--out", desk.out()) as first:
        wait_for(first, "import ...")
        before = (desk.out() / "events.jsonl").read_bytes()

        with running("train", spec, "--out", desk.out()) as second:
            second.communicate(timeout=20)

        assert second.returncode == 73
        assert (desk.out() / "events.jsonl").read_bytes() == before


def test_lock_handed_over_is_held_until_the_process_ends(desk: Desk) -> None:
    lock = (desk.folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    handed_over = {"FTORCH_LOCK_FD": str(lock.fileno())}

    with running("train", desk.sft(), "--out", desk.out(), env=handed_over, pass_fds=[lock.fileno()]) as process:
        lock.close()
        wait_for(process, "import ...")
        assert _is_locked(desk.folder / "lock")

    assert not _is_locked(desk.folder / "lock")
    assert not (desk.out() / "lock").exists()


def _is_locked(path: Path) -> bool:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
