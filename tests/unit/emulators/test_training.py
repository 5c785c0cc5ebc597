"""What stands behind an emulated training: at once, or the trainer itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.shell import is_alive, until
from ftorch.core.clock import ManualClock
from ftorch.emulators.together import TogetherEmulator, archives
from ftorch.emulators.together.jobs import Job
from ftorch.emulators.together.rows import trainer_row
from ftorch.emulators.training import Genuine, Instant, Outcome, Training, Work
from unit.emulators.desk import MODEL, WHOLE_S, Desk, Row, chats, preferences

_LOAD_IN_PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
learned = [bool(weights.any()) for name, weights in model.named_parameters() if "lora_B" in name]
print(all(learned), len(learned))
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny base model is made once."""
    return tmp_path_factory.mktemp("kept")


@contextmanager
def opened(training: Training) -> Iterator[Desk]:
    clock = ManualClock()
    with TogetherEmulator(clock, training=training) as emulator, httpx.Client() as http:
        yield Desk(emulator, clock, http)
        assert emulator.violations == []


def trained(desk: Desk, job: Job) -> Any:
    """The record once the process has ended; meanwhile the emulated job goes on however much time passes."""
    desk.clock.advance(WHOLE_S)
    assert desk.record(job)["status"] == "running"

    until(lambda: has_ended(desk, job))
    return desk.record(job)


def has_ended(desk: Desk, job: Job) -> bool:
    """Let time pass and look."""
    desk.clock.advance(WHOLE_S)
    return desk.emulator.service.job(job.organisation, job.id).is_over(desk.clock.now())


def load_in_peft(base: Path, files: dict[str, bytes], folder: Path) -> str:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    words = [sys.executable, "-c", _LOAD_IN_PEFT, str(base), str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _sft(desk: Desk) -> Job:
    lora = {"type": "Lora", "lora_r": 4, "lora_alpha": 12}
    return desk.create(chats(16), n_epochs=2, learning_rate=5e-3, training_type=lora, max_seq_length=128)


def _dpo(desk: Desk) -> Job:
    lora = {"type": "Lora", "lora_r": 4, "lora_alpha": 12, "lora_trainable_modules": "q_proj,v_proj"}
    method = {"method": "dpo", "dpo_beta": 0.2}
    return desk.create(
        preferences(16), n_epochs=2, learning_rate=5e-3, training_type=lora, training_method=method, max_seq_length=128
    )


@pytest.mark.parametrize(("order", "learned"), [(_sft, "True 14"), (_dpo, "True 4")], ids=["sft", "dpo"])
def test_a_genuine_training_makes_an_adapter_that_peft_loads(
    kept: Path, tmp_path: Path, order: Callable[[Desk], Job], learned: str
) -> None:
    with opened(Genuine(kept)) as desk:
        job = order(desk)
        record = trained(desk, job)
        files = archives.unpack(desk.emulator.service.archive_of(job))
        rows = desk.get(f"/v1/fine-tunes/{job.id}/metrics")["metrics"]

    config = json.loads(files["adapter_config.json"])
    assert record["status"] == "completed"
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (MODEL, 4, 12)
    assert load_in_peft(kept / "bases" / "tiny", files, tmp_path / "adapter") == learned
    assert [row["train/global_step"] for row in rows] == [1.0, 2.0, 3.0, 4.0]
    assert len({row["train/loss"] for row in rows}) > 1


class Slow:
    """A training that is done when it is told so."""

    def __init__(self) -> None:
        self.started: list[Work] = []
        self.done: Outcome | None = None

    def start(self, work: Work) -> None:
        self.started.append(work)

    def outcome(self, work: Work) -> Outcome | None:
        return self.done

    def close(self) -> None: ...


def test_a_job_goes_on_for_as_long_as_its_training_does() -> None:
    training = Slow()
    with opened(training) as desk:
        job = desk.create(chats(16), n_epochs=2)
        desk.clock.advance(4)
        assert (desk.record(job)["status"], training.started) == ("queued", [])

        desk.clock.advance(3600)
        waiting = desk.record(job)
        training.done = Instant().outcome(job.work)
        until(lambda: has_ended(desk, job))
        ended = desk.record(job)

    assert (waiting["status"], waiting["epochs_completed"]) == ("running", 1)
    assert (ended["status"], ended["epochs_completed"]) == ("completed", 2)
    assert ended["total_price"] == waiting["total_price"]


def test_a_cancelled_job_waits_for_no_training() -> None:
    with opened(Slow()) as desk:
        job = desk.create(chats(16))
        desk.clock.advance(3600)
        desk.ask("POST", f"/v1/fine-tunes/{job.id}/cancel")
        desk.clock.advance(5)

        assert desk.record(job)["status"] == "cancelled"


def test_the_same_order_is_trained_once_and_another_emulator_finds_it(tmp_path: Path) -> None:
    _pretend_trained(tmp_path, work := _work())

    with opened(Genuine(tmp_path)) as desk:
        first, second = (_finish_at_once(desk, desk.create(chats(16))) for _ in range(2))

    assert first.work.sha256 == second.work.sha256 == work.sha256
    assert archives.unpack(first.archive or b"") == {"adapter_config.json": b"{}"}


def test_a_training_that_fails_ends_the_job_with_the_trainers_words(tmp_path: Path) -> None:
    (tmp_path / "bases").write_text("no folder")

    with opened(Genuine(tmp_path)) as desk:
        job = desk.create(chats(16))
        record = trained(desk, job)
        last = desk.get(f"/v1/fine-tunes/{job.id}/events")["data"][-1]

    assert (record["status"], last["type"]) == ("error", "job_error")
    assert "bases" in last["message"]


def test_closing_ends_the_process_that_is_at_work(tmp_path: Path) -> None:
    training = Genuine(tmp_path)
    training.start(_work())
    pid: int = until(lambda: training.pid)

    training.close()

    assert not is_alive(pid)
    assert (training.outcome(_work()) or Outcome({}, ())).error


def test_an_instant_training_has_an_adapter_at_once() -> None:
    outcome = Instant().outcome(_work())

    assert set(outcome.files) == {"adapter_config.json", "adapter_model.safetensors"}
    assert outcome.losses[0] > outcome.losses[-1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "2 + 2", "completion": "4"}, (["user"], ["assistant"])),
        ({"text": "2 + 2 = 4"}, (["user"], ["assistant"])),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "2 + 2"},
                    {"role": "assistant", "content": "4", "weight": 0},
                    {"role": "user", "content": "3 + 3"},
                    {"role": "assistant", "content": None, "tool_calls": []},
                ]
            },
            (["system", "user", "assistant", "user"], ["assistant"]),
        ),
        ({"messages": [{"role": "assistant", "content": "4"}]}, (["user"], ["assistant"])),
    ],
)
def test_rows_become_what_the_trainer_reads(row: Row, expected: tuple[list[str], list[str]]) -> None:
    found = trainer_row(row)

    assert tuple([message["role"] for message in found[part]] for part in ("prompt", "completion")) == expected
    assert {key for part in found.values() for message in part for key in message} == {"role", "content"}


def _work() -> Work:
    """What `Desk.create(chats(16))` comes to."""
    with opened(Instant()) as desk:
        return desk.create(chats(16)).work


def _pretend_trained(folder: Path, work: Work) -> None:
    out = folder / work.sha256[:24] / "out"
    (out / "adapter").mkdir(parents=True)
    (out / "adapter" / "adapter_config.json").write_text("{}")
    (out / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    (out / "result.json").write_text("{}")


def _finish_at_once(desk: Desk, job: Job) -> Job:
    until(lambda: has_ended(desk, job))
    desk.emulator.service.archive_of(job)
    return job
