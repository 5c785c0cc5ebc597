"""A person's folder beside an emulated Modal that really trains: processes, volumes as folders, real time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from e2e.shell import MANIFEST, Shell, example, furnish
from ftorch.core.money import Money
from ftorch.emulators.clock import FastClock
from ftorch.emulators.modal import WORKSPACE, ModalEmulator, Sandbox
from ftorch.emulators.modal.work import Processes

_REVISION = "0" * 40
SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_MANIFEST = MANIFEST.replace(
    "provider: {name: local}", "provider: {name: modal}\nresources: {gpu: T4, max_duration: 1h}"
)

_GENERATES = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
ids = AutoTokenizer.from_pretrained(base)("Where is my card?", return_tensors="pt")
print("GENERATED", model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] - ids["input_ids"].shape[1])
"""


@dataclass
class ModalShell:
    """The command line, Modal, and what a test asks of both."""

    shell: Shell
    emulator: ModalEmulator

    @property
    def sandboxes(self) -> list[Sandbox]:
        return list(self.emulator.service.sandboxes.values())

    @property
    def the_sandbox(self) -> Sandbox:
        [one] = self.sandboxes
        return one

    @property
    def job(self) -> Any:
        [one] = self.shell.json("jobs")
        return one

    def billed(self) -> Decimal:
        """The emulator's bill for the jobs' Apps, rounded once per sandbox as the ledger does."""
        now = self.emulator.clock.now()
        costs = [
            sum((usd for _, cost in one.costs(now) for usd in cost.values()), Decimal(0)) for one in self.sandboxes
        ]
        return Money.from_micro(sum(Money(cost).micro for cost in costs)).amount

    def spent(self) -> Decimal:
        return Decimal(self.shell.json("spend")["total"]["amount"])

    def files(self, pattern: str) -> list[Path]:
        """What is committed on the Volume."""
        return sorted(path for one in self.emulator.service.volumes.values() for path in one.root.glob(pattern))

    def generates(self, hub: Path) -> bool:
        """The adapter that came home loads on its base and answers."""
        base = hub / "bases" / "tiny"
        command = [sys.executable, "-c", _GENERATES, str(base), self.job["adapter"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "GENERATED 4" in done.stdout

    def lengthen(self) -> None:
        """A job that takes long enough to be disturbed: 200 steps, a checkpoint at every 20th."""
        manifest = self.shell.folder / "job.yaml"
        text = (
            manifest.read_text()
            .replace("epochs: 4", "epochs: 40")
            .replace("save_every_steps: 5", "save_every_steps: 20")
        )
        manifest.write_text(text)


@contextmanager
def modal_shell(folder: Path, hub: Path | None = None) -> Iterator[ModalShell]:
    """A folder with the small job of `shell.py`, for Modal."""
    furnish(folder)
    (folder / "job.yaml").write_text(_MANIFEST)
    root = folder / "modal"
    root.mkdir()
    env = {"HF_HOME": str(hub)} if hub else {}
    with ModalEmulator(FastClock(), folder=root, work=Processes(root, env)) as emulator:
        shell = Shell(folder, env={**emulator.variables, "MODAL_CONFIG_PATH": str(folder / "no-modal.toml")})
        yield ModalShell(shell, emulator)
        shell.end_all()
    assert emulator.unserved == set()


def small_hub(folder: Path) -> Path:
    """A cache of the Hub in which a model of 90,000 weights stands for SmolLM2."""
    command = [sys.executable, "-m", "ftorch.trainer", "prepare", "builtin:tiny", "--cache", str(folder / "bases")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    repository = folder / "hub" / f"models--{SMALL.replace('/', '--')}"
    shutil.copytree(json.loads(done.stdout.splitlines()[-1])["path"], repository / "snapshots" / _REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_REVISION)
    return folder


__all__ = ["WORKSPACE", "ModalShell", "example", "modal_shell", "small_hub"]
