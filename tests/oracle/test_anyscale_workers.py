"""Two workers at Anyscale: its emulator has the job, a real Ray head is its cluster. Part of `make cluster`."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.head import Head
from cluster.jobs import manifest, person, speaks, trained
from e2e.shell import Shell
from ftorch.emulators.anyscale import TOKEN, AnyscaleEmulator
from ftorch.emulators.clock import FastClock
from ftorch.emulators.entrypoints import Ended, Entrypoint, Told, unpack

_NO_GPU_HERE = {"FTORCH_USE_GPU": "0"}
_BASES = "node/ftorch/.bases/tiny"
"""Where the head of an Anyscale cluster prepares the base model: outside the logs of a session."""


class OnHead:
    """Entrypoints run where the head is, as Anyscale runs them on the head of a job's cluster."""

    def __init__(self, head: Head, folder: Path) -> None:
        self._head = head
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, order: Entrypoint, told: Told, ended: Ended) -> None:
        place = self._folder / order.job_id
        unpack(order.package, place)
        node = self._head.folder / "node"  # short: Ray's Unix sockets lie in it
        node.mkdir(exist_ok=True)
        env = {**order.env, **_NO_GPU_HERE, "TMPDIR": str(node)}
        variables = [f"{name}={value}" for name, value in env.items()]
        command = ["env", *variables, "/bin/sh", "-c", order.command]
        process = self._head.inside(*command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._processes[order.job_id] = process
        threading.Thread(target=self._follow, args=(process, told, ended), daemon=True).start()

    def stop(self, job_id: str) -> None:
        if process := self._processes.get(job_id):
            process.terminate()
            process.wait()

    def lose(self, job_id: str) -> None:
        if process := self._processes.get(job_id):
            process.kill()
            process.wait()

    def look(self) -> None:
        """Processes end by themselves."""

    def close(self) -> None:
        for job_id in self._processes:
            self.lose(job_id)

    @staticmethod
    def _follow(process: subprocess.Popen[bytes], told: Told, ended: Ended) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told(line.decode(errors="replace"))
        ended(process.wait())


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head() as head:
        yield head


@pytest.fixture
def emulator(head: Head, tmp_path: Path) -> Iterator[AnyscaleEmulator]:
    with AnyscaleEmulator(FastClock(), work=OnHead(head, tmp_path / "clusters")) as emulator:
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def shell(head: Head, emulator: AnyscaleEmulator, tmp_path: Path) -> Iterator[Shell]:
    with person(head, tmp_path) as one:
        yield Shell(tmp_path, {**one.env, "ANYSCALE_HOST": emulator.url, "ANYSCALE_CLI_TOKEN": TOKEN})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_two_workers_on_two_machines_bring_one_adapter_home(
    shell: Shell, head: Head, emulator: AnyscaleEmulator, method: str
) -> None:
    bucket = (shell.folder / "bucket").as_uri()
    chosen = {
        "provider": "anyscale",
        "options": f", anyscale: {{output_uri: {bucket}}}",
        "workers": 2,
        "method": f"type: {method}, learning_rate: 5.0e-3",
        "rows": {"sft": "rows.jsonl", "dpo": "pairs.jsonl"}[method],
    }

    job = trained(shell, manifest(shell, f"both-{method}", **chosen))

    result = json.loads(Path(job["adapter"], "result.json").read_text())
    [name] = emulator.service.creates
    assert result["effective"]["workers"] == 2
    assert emulator.service.newest(name).cluster.machines == ("", "T4", "T4")
    assert speaks(head.folder / _BASES, job["adapter"])
