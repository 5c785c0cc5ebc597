"""kill -9 while a job runs at Modal, and machines taken away there: one paid sandbox per run, the same bytes at home.

Real processes throughout: the installed command, the unmodified client, the trainer in emulated sandboxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.test_kills import HOOK
from e2e.modal_shell import ModalShell, example, modal_shell, small_hub
from e2e.shell import kill, until
from ftorch.emulators.modal.sandboxes import Status

_PROVIDER = "ftorch.providers.modal.provider:ModalProvider"
# A death between the intent and the create waits out half an hour: test_modal_boundaries.py has a clock for that.
KILLS = {
    "before its data is staged": f"daemon|before|{_PROVIDER}.stage|1",
    "when the create was carried out and nobody knows": "daemon|after|ftorch.providers.modal.submitting:create|1",
    "after the create": f"daemon|after|{_PROVIDER}.submit|1",
    "while it is observed": f"daemon|after|{_PROVIDER}.observe|2",
    "in the middle of the fetch": "daemon|audit:os.rename|.adapter_model.safetensors.part|1",
    "before it is released": f"daemon|before|{_PROVIDER}.release|1",
    "before it is charged": f"daemon|before|{_PROVIDER}.charges|1",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def world(tmp_path: Path, hub: Path) -> Iterator[ModalShell]:
    with modal_shell(tmp_path, hub) as made:
        yield made


@pytest.mark.parametrize("manifest", ["modal-sft.yaml", "modal-dpo.yaml"])
@pytest.mark.parametrize("order", KILLS.values(), ids=KILLS.keys())
def test_a_killed_daemon_pays_one_sandbox(world: ModalShell, hub: Path, order: str, manifest: str) -> None:
    mark = world.shell.folder / "killed"
    crash = {"PYTHONPATH": str(HOOK), "FTORCH_CRASH": order, "FTORCH_CRASH_MARK": str(mark)}

    world.shell.run("submit", example(world.shell.folder, manifest), "--wait", "--yes", extra=crash)
    done = world.shell.run("wait", world.job["id"])

    assert done.returncode == 0, done.stderr
    assert mark.exists(), f"nothing was killed: {order}"
    assert world.generates(hub)
    assert world.the_sandbox.status is Status.SUCCESS
    assert world.shell.json("adapters", "verify", world.job["id"])["valid"]
    assert world.spent() == world.billed() > 0


def test_a_killed_daemon_finds_the_sandbox_that_has_finished_meanwhile(world: ModalShell) -> None:
    shell = world.shell
    shell.run("submit", "job.yaml", "--yes")
    sandbox = until(lambda: next((one for one in world.sandboxes if one.started_at), None))

    kill(until(shell.pid_of_daemon))
    until(lambda: sandbox.is_over, within_s=120)
    done = shell.run("wait", "colours")

    assert done.returncode == 0, done.stderr
    assert world.the_sandbox.status is Status.SUCCESS
    assert world.spent() == world.billed() > 0


def test_a_sandbox_that_finished_before_its_create_was_answered_is_found(world: ModalShell) -> None:
    """The daemon dies with the answer in its hand; when the next one comes, no list of Modal's has the sandbox."""
    mark = world.shell.folder / "killed"
    order = KILLS["when the create was carried out and nobody knows"]
    crash = {"PYTHONPATH": str(HOOK), "FTORCH_CRASH": order, "FTORCH_CRASH_MARK": str(mark)}
    world.shell.run("submit", "job.yaml", "--yes", extra=crash)
    until(mark.exists)
    until(lambda: world.the_sandbox.is_over, within_s=120)

    done = world.shell.run("wait", "colours")

    assert done.returncode == 0, done.stderr
    assert world.the_sandbox.status is Status.SUCCESS
    assert world.spent() == world.billed() > 0


def test_preempted_twice_it_ends_with_the_adapter_of_an_undisturbed_run(world: ModalShell, tmp_path: Path) -> None:
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    with modal_shell(folder) as undisturbed:
        undisturbed.lengthen()
        assert undisturbed.shell.run("submit", "job.yaml", "--wait", "--yes").returncode == 0
        expected = adapter_of(undisturbed)

    world.lengthen()
    world.shell.run("submit", "job.yaml", "--yes")
    for number, checkpoint in enumerate((20, 80), start=1):
        until(lambda wanted=checkpoint: reached(world, wanted), within_s=120)
        with world.emulator.service.lock:
            world.emulator.service.preempt(world.sandboxes[-1])
        until(lambda wanted=number: len(world.sandboxes) > wanted, within_s=120)
    done = world.shell.run("wait", "colours")

    assert done.returncode == 0, done.stderr
    assert adapter_of(world) == expected
    assert [one.status for one in world.sandboxes] == [Status.TERMINATED, Status.TERMINATED, Status.SUCCESS]
    assert world.spent() == world.billed()


def reached(world: ModalShell, step: int) -> bool:
    """The newest run has committed a checkpoint of this step or a later one, and has not ended."""
    key = world.sandboxes[-1].order.name if world.sandboxes else "none"
    steps = [json.loads(path.read_text())["step"] for path in world.files(f"runs/{key}/out/checkpoints/*/.complete")]
    return max(steps, default=0) >= step and not world.sandboxes[-1].is_over


def adapter_of(world: ModalShell) -> dict[str, bytes]:
    """Every file of the adapter but the receipt and the result, which name the job and its times."""
    folder = Path(world.job["adapter"])
    beside = ("receipt.json", "result.json")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in beside}
