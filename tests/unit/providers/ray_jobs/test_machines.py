"""Two workers that train for real, without Ray: each has a folder of its own as its machine, and both a storage."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftorch.trainer.bases import prepare
from unit.providers.ray_jobs.cluster import KEY, steps
from unit.trainer.desk import Desk

_WORKER = """
import sys
from pathlib import Path
import torch
from ftorch.providers.ray_jobs.inside.carrier import Carrier
from ftorch.providers.ray_jobs.inside.mirror import Mirror
from ftorch.trainer.device import World
from ftorch.trainer.worker import Order, work
rank, port, spec, out, uri, key = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:]
torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
with Carrier(Mirror(uri), out, key, None) as carrier:
    code = work(Order(spec.read_bytes(), spec.parent, out, None), World(rank, 2, 2), carrier)
sys.exit(code)
"""


@contextmanager
def _workers(desk: Desk, spec: Path, *machines: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A worker on each machine, killed at the end of the block; the first of them writes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_WAIT_POLICY": "PASSIVE"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(rank), port, spec, desk.out(machine), f"file://{desk.out()}", KEY],
            env={**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, machine in enumerate(machines)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _until(question: Callable[[], Any]) -> None:
    for _ in range(6000):
        if question():
            return
        time.sleep(0.02)
    raise AssertionError("not within two minutes")


def test_a_training_goes_on_when_the_writer_comes_back_on_another_machine(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Path(prepare("builtin:tiny", tmp_path / "bases", None).path))
    spec = desk.sft(workers=2, micro_batch_size=2, epochs=20)
    bucket = desk.out() / KEY
    with _workers(desk, spec, "one", "two"):
        _until(lambda: steps(bucket))

    with _workers(desk, spec, "two", "three") as both:
        codes = [process.wait(timeout=120) for process in both]

    first, second = json.loads((bucket / "result.json").read_text())["attempts"]
    assert codes == [0, 0]
    assert (first["how"], second["how"]) == ("killed", "succeeded")
    assert second["from_step"] >= 10
    assert steps(bucket) == []
