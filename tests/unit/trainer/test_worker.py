"""Several workers without Ray: processes that have joined by themselves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ftorch.trainer import peers, run, worker
from ftorch.trainer.device import World
from ftorch.trainer.errors import DataError, SpecError
from ftorch.trainer.folder import Folder
from ftorch.trainer.spec import train_job
from unit.trainer.desk import Desk, sft_rows

_WORKER = """
import json, sys
from pathlib import Path
import torch
from ftorch.trainer.device import World
from ftorch.trainer.worker import Order, work
rank, port, spec, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
sys.exit(work(Order(spec.read_bytes(), spec.parent, out, None), World(rank, 2, 2), lambda step: None))
"""


def _order(desk: Desk, spec: Path, ends_at: float | None = None) -> worker.Order:
    return worker.Order(spec.read_bytes(), spec.parent, desk.out(), ends_at)


def _work(order: worker.Order) -> int:
    def bring(_step: int) -> None:
        raise AssertionError("the writer has its own checkpoints")

    with patch.dict(os.environ):
        return worker.work(order, World(), bring)


def _two(desk: Desk, spec: Path) -> list[int]:
    """The exit codes of two processes that train together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(rank), str(port), str(spec), str(desk.out("two"))],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_WAIT_POLICY": "PASSIVE",
            },
        )
        for rank in range(2)
    ]
    return [process.wait(timeout=120) for process in both]


def test_two_workers_train_what_one_does_and_one_of_them_writes(desk: Desk) -> None:
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0}
    alone = desk.sft(sft_rows(40), lora=lora, dtype="float32")  # a last step that is not full would be filled up
    assert desk.train(alone) == 0

    codes = _two(desk, desk.changed(alone, workers=2, micro_batch_size=2))

    one, two = desk.result(), desk.result("two")
    assert codes == [0, 0]
    assert two["effective"]["workers"] == 2
    assert (two["steps"], two["trained_tokens"], two["loss_tokens"]) == (
        one["steps"],
        one["trained_tokens"],
        one["loss_tokens"],
    )
    assert two["final_loss"] == pytest.approx(one["final_loss"], rel=1e-3)
    assert [event["attempt"] for event in desk.events("started", "two")] == [1]


def test_alone_nobody_is_waited_for() -> None:
    peers.meet()

    assert (peers.summed([3, 4]), peers.told("mine")) == ([3, 4], "mine")


def test_what_is_done_is_not_done_again(desk: Desk) -> None:
    spec = desk.sft()
    job = train_job(spec.read_bytes(), spec.parent)
    desk.out().mkdir()
    (desk.out() / "result.json").write_text(json.dumps({"fingerprint": job.fingerprint}))

    assert _work(_order(desk, spec)) == 0
    assert not (desk.out() / "events.jsonl").exists()


def test_a_fault_of_its_own_is_told_once_and_not_tried_again(desk: Desk) -> None:
    spec = desk.sft()
    desk.rows([{"prompt": "no list", "completion": []}])

    with pytest.raises(DataError):
        _work(_order(desk, spec))

    assert _work(_order(desk, spec)) == 65
    assert len(desk.events("failed")) == 1


def test_an_error_that_may_be_another_workers_is_left_for_a_new_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_others(*_: Any) -> None:
        raise RuntimeError("Connection reset by peer")

    monkeypatch.setattr(run, "carry_on", lose_the_others)

    with pytest.raises(RuntimeError, match="reset by peer"):
        _work(_order(desk, desk.sft()))

    assert desk.events("failed") == []
    assert len(desk.events("started")) == 1


def test_a_new_start_after_the_deadline_ends_at_once_and_says_so_once(desk: Desk) -> None:
    order = _order(desk, desk.sft(), ends_at=time.time() - 1)

    assert [_work(order), _work(order)] == [75, 75]
    assert [event["reason"] for event in desk.events("interrupted")] == ["deadline"]


def test_a_worker_without_the_writers_checkpoint_has_it_brought_or_gives_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "told", lambda _value: 20)
    spec = desk.sft()
    job = train_job(spec.read_bytes(), spec.parent)
    asked: list[int] = []

    with pytest.raises(SpecError, match="the checkpoint of step 20 is not on this worker's machine"):
        worker._start(job, Folder(desk.out()), World(1, 2, 1), asked.append)

    assert asked == [20]
