"""Modal end to end: the installed command, the unmodified client, an emulator that really trains."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.modal_shell import ModalShell, example, modal_shell, small_hub
from e2e.shell import until
from ftorch.emulators.modal.sandboxes import Status


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def world(tmp_path: Path, hub: Path) -> Iterator[ModalShell]:
    with modal_shell(tmp_path, hub) as made:
        yield made


@pytest.mark.parametrize("manifest", ["modal-sft.yaml", "modal-dpo.yaml"])
def test_an_example_brings_a_genuine_adapter_home_and_costs_what_the_bill_says(
    world: ModalShell, hub: Path, manifest: str
) -> None:
    done = world.shell.run("submit", example(world.shell.folder, manifest), "--wait", "--yes")

    assert done.returncode == 0, done.stderr
    assert world.job["state"] == "succeeded"
    assert world.shell.json("adapters", "verify", world.job["id"])["valid"]
    assert world.spent() == world.billed() > 0
    assert world.the_sandbox.order.tags["ftorch_run"] == world.job["runs"][0]["key"]
    assert world.generates(hub)
    assert world.shell.run("logs", world.job["id"]).stdout.splitlines()[-1] == "ftorch: save ..."


def test_ctrl_c_while_queued_changes_nothing_at_modal_and_a_blocked_create_can_be_cancelled(world: ModalShell) -> None:
    shell, service = world.shell, world.emulator.service
    service.full = {"T4"}
    waiting = shell.start("submit", "job.yaml", "--wait", "--yes")
    until(lambda: world.sandboxes)

    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=60)
    world.emulator.requests.clear()
    until(lambda: world.emulator.requests["SandboxGetTaskId"] > 3)

    assert waiting.returncode == 130
    assert not world.the_sandbox.is_over

    assert shell.run("cancel", "colours").returncode == 0
    cancelled = shell.run("wait", "colours")

    assert cancelled.returncode == 8, cancelled.stderr
    assert world.the_sandbox.status is Status.TERMINATED
    assert world.spent() == world.billed() == 0
