"""Several workers without Ray: processes that have joined by themselves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
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
from ftorch.trainer.worker import OneMachine, Order, work
rank, port, spec, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
sys.exit(work(Order(spec.read_bytes(), spec.parent, out, None), World(rank, 2, 2), OneMachine()))
"""


def _order(desk: Desk, spec: Path, ends_at: float | None = None) -> worker.Order:
    return worker.Order(spec.read_bytes(), spec.parent, desk.out(), ends_at)


class Carrier:
    """What was asked of it, and what it does then."""

    def __init__(self, **does: Callable[[], Any]) -> None:
        self.asked: list[str] = []
        self._does = does

    def catch_up(self) -> None:
        self._do("catch_up")

    def share(self) -> None:
        self._do("share")

    def bring(self) -> None:
        self._do("bring")

    def _do(self, name: str) -> None:
        self.asked.append(name)
        self._does.get(name, lambda: None)()


def _work(order: worker.Order, carrier: worker.Carrier | None = None) -> int:
    with patch.dict(os.environ):
        return worker.work(order, World(), carrier or worker.OneMachine())


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


def test_what_another_machine_has_finished_is_not_trained_again(desk: Desk) -> None:
    spec = desk.sft()
    job = train_job(spec.read_bytes(), spec.parent)

    def brought() -> None:
        (desk.out() / "result.json").write_text(json.dumps({"fingerprint": job.fingerprint}))

    carrier = Carrier(catch_up=brought)

    assert _work(_order(desk, spec), carrier) == 0
    assert carrier.asked == ["catch_up"]


def test_a_fault_that_was_told_on_another_machine_is_not_tried_again(desk: Desk) -> None:
    def brought() -> None:
        failed = {"t": "2026-11-28T03:00:00Z", "event": "failed", "exit_code": 65}
        (desk.out() / "events.jsonl").write_text(json.dumps(failed) + "\n")

    assert _work(_order(desk, desk.sft()), Carrier(catch_up=brought)) == 65


def test_attempts_on_another_machine_are_counted_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def brought() -> None:
        started = {"t": "2026-11-28T03:00:00Z", "event": "started", "attempt": 1}
        (desk.out() / "events.jsonl").write_text(json.dumps(started) + "\n")

    monkeypatch.setattr(run, "carry_on", lambda *_: None)

    _work(_order(desk, desk.sft()), Carrier(catch_up=brought))

    assert [event["attempt"] for event in desk.events("started")] == [1, 2]


def test_a_writer_whose_storage_is_silent_begins_nothing(desk: Desk) -> None:
    def silent() -> None:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        _work(_order(desk, desk.sft()), Carrier(catch_up=silent))

    assert not (desk.out() / "events.jsonl").exists()


def _saved(out: Path, step: int, **mark: Any) -> dict[str, Any]:
    """A whole checkpoint, as far as its mark tells."""
    told = {"step": step, "total_steps": 60, "t": "2026-11-28T03:00:00Z", **mark}
    path = out / "checkpoints" / f"checkpoint-{step}"
    path.mkdir(parents=True, exist_ok=True)
    (path / ".complete").write_text(json.dumps(told))
    return told


def test_the_writer_shares_its_checkpoint_before_it_names_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = desk.sft()
    job = train_job(spec.read_bytes(), spec.parent)
    mark = _saved(desk.out(), 20, fingerprint=job.fingerprint)
    carrier = Carrier()

    def told(value: Any) -> Any:
        carrier.asked.append("told")
        return value

    monkeypatch.setattr(peers, "told", told)

    start = worker._start(job, Folder(desk.out()), World(0, 2, 1), carrier)

    assert (start and start.mark, carrier.asked) == (mark, ["share", "told"])


@pytest.mark.parametrize("here", [{}, {20: "another writer's"}, {40: "a newer one that was never shared"}])
def test_a_worker_without_the_writers_checkpoint_has_it_brought(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, here: dict[int, str]
) -> None:
    mark = _saved(desk.out("writers"), 20)
    for step, words in here.items():
        _saved(desk.out(), step, t=words)
    monkeypatch.setattr(peers, "told", lambda _value: mark)
    spec = desk.sft()
    carrier = Carrier(bring=lambda: _saved(desk.out(), 20))

    start = worker._start(train_job(spec.read_bytes(), spec.parent), Folder(desk.out()), World(1, 2, 1), carrier)

    assert (start and start.mark, carrier.asked) == (mark, ["bring"])


def test_a_worker_that_has_the_writers_checkpoint_asks_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = _saved(desk.out(), 20)
    monkeypatch.setattr(peers, "told", lambda _value: mark)
    spec = desk.sft()
    carrier = Carrier()

    start = worker._start(train_job(spec.read_bytes(), spec.parent), Folder(desk.out()), World(1, 2, 1), carrier)

    assert (start and start.step, carrier.asked) == (20, [])


def test_a_worker_that_cannot_have_the_writers_checkpoint_gives_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "told", lambda _value: {"step": 20})
    spec = desk.sft()
    job = train_job(spec.read_bytes(), spec.parent)

    with pytest.raises(SpecError, match="the checkpoint of step 20 is not on this worker's machine"):
        worker._start(job, Folder(desk.out()), World(1, 2, 1), Carrier())
