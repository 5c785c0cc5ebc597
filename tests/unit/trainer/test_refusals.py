"""Specs and data that are wrong: told with file, line and key, before torch is imported."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.trainer.desk import Desk, assistant, sft_rows, user, without_torch


def test_bad_spec_is_told_before_torch_is_imported(desk: Desk) -> None:
    done = without_torch("train", desk.sft(learnign_rate=1), "--out", desk.out())

    assert done.returncode == 64
    assert "learnign_rate: not a known key (did you mean 'learning_rate'?)" in done.stderr
    started, phase, failed = desk.lines("events.jsonl")
    assert (started["event"], started["attempt"], phase["phase"]) == ("started", 1, "import")
    assert (failed["event"], failed["type"], failed["exit_code"]) == ("failed", "SpecError", 64)
    assert desk.object("heartbeat.json")["pid"] == started["pid"]


def test_several_workers_are_refused_with_the_way_to_get_them(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk.train(desk.sft(workers=2)) == 64
    assert "this trainer is one process, the spec wants 2" in capfd.readouterr().err


def test_four_bits_without_the_library_are_refused_with_the_command(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert desk.train(desk.sft(quantize="4bit")) == 64
    assert "pip install bitsandbytes" in capfd.readouterr().err


def test_tracker_that_is_not_installed_is_refused_with_the_command(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert desk.train(desk.sft(tracking={"wandb": {"project": "x"}})) == 64
    assert "pip install wandb" in capfd.readouterr().err


def test_changed_train_file_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.sft()
    desk.rows(sft_rows(41))

    assert desk.train(spec) == 65
    assert "train.jsonl: sha256 is" in capfd.readouterr().err
    assert desk.events("failed")[0]["exit_code"] == 65


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": user("a")}, "completion: expected a list of messages"),
        ({"prompt": [], "completion": assistant("b")}, "prompt: expected a list of messages"),
        ({"prompt": user("a"), "completion": user("b")}, "completion: does not start with the assistant"),
        ({"prompt": [{"role": "robot", "content": "a"}], "completion": assistant("b")}, "'robot' is not a role"),
        ({"prompt": [{"role": "user"}], "completion": assistant("b")}, "exactly the keys role and content"),
        ({"prompt": [{"role": "user", "content": 1}], "completion": assistant("b")}, "content is not text"),
        ([1], "not an object"),
    ],
)
def test_bad_row_is_told_with_its_line(desk: Desk, row: Any, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk.train(desk.sft([*sft_rows(2), row])) == 65

    said = capfd.readouterr().err
    assert "train.jsonl:3: " in said
    assert words in said


def test_base_model_without_weights_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.sft(base_model={"id": "some/model", "path": str(desk.folder)})

    assert desk.train(spec) == 66
    assert "is no base model" in capfd.readouterr().err


def test_builtin_base_without_a_folder_is_refused_with_the_command(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert desk.train(desk.sft(base_model={"id": "builtin:tiny"})) == 64
    assert "prepare builtin:tiny --cache DIR" in capfd.readouterr().err


def test_missing_spec_makes_no_folder(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk.train(desk.folder / "none.json") == 64
    assert "No such file" in capfd.readouterr().err
    assert not desk.out().exists()


def test_missing_start_adapter_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk.train(desk.sft(from_adapter="nowhere")) == 64
    assert "from_adapter: 'nowhere' has no adapter_model.safetensors" in capfd.readouterr().err


def test_crash_is_told_with_its_type(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.sft()
    broken = desk.folder / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (broken / "model.safetensors").write_bytes(b"no weights")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (broken / name).write_bytes((desk.tiny / name).read_bytes())

    assert desk.train(desk.changed(spec, base_model={"id": "x/y", "path": str(broken)})) == 70
    assert "Traceback" in capfd.readouterr().err
    [failed] = desk.events("failed")
    assert failed["type"] == "SafetensorError"
    assert failed["exit_code"] == 70
