"""Orders that the service does not take, and answers that it must not give."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from unit.emulators.desk import LORA, Desk, chats


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_type": {**LORA, "lora_r": 65}}, "lora_r must be between 1 and 64"),
        ({"training_type": {**LORA, "lora_trainable_modules": "q_proj,lm_head"}}, "'lm_head' is not a module"),
        ({"n_epochs": 21}, "n_epochs must be between 1 and 20"),
        ({"learning_rate": 0.5}, "learning_rate must be between"),
        ({"batch_size": 4}, "batch_size must be between 8 and 64"),
        ({"max_seq_length": 16}, "max_seq_length must be between 32 and 32768"),
        ({"n_evals": 2}, "there is no validation_file"),
        ({"early_stopping_enabled": True}, "Early stopping requires"),
        ({"training_method": {"method": "dpo"}}, "cannot be trained on"),
        ({"model": None}, "either a model or a checkpoint"),
        ({"from_checkpoint": "ft-1"}, "either a model or a checkpoint"),
        ({"model": None, "from_checkpoint": "ft-unknown"}, "Checkpoint ft-unknown not found"),
        ({"model": "Qwen/Qwen3-235B-A22B", "batch_size": 1, "training_type": {"type": "Full"}}, "Full training is not"),
    ],
)
def test_an_order_beyond_the_limits_is_refused_in_words(desk: Desk, changes: dict[str, Any], words: str) -> None:
    answer = desk.ask("POST", "/v1/fine-tunes", json=desk.order(**changes))

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert desk.emulator.service.creates.total() == 0


def test_an_order_for_a_file_that_has_not_passed_is_refused(desk: Desk) -> None:
    file_id = desk.upload(b'{"foo": 1}\n')

    answer = desk.ask("POST", "/v1/fine-tunes", json=desk.order(chats(), training_file=file_id))

    assert answer.status_code == 400
    assert "is invalid: Error parsing file. Could not detect a format" in answer.json()["error"]["message"]


def test_an_answer_that_breaks_its_schema_is_not_sent_and_remembered(desk: Desk) -> None:
    job = desk.create()
    job.max_seq_length = "long"  # type: ignore[assignment]  # a bug, for once on purpose

    with pytest.raises(httpx.RemoteProtocolError):
        desk.ask("GET", "/v1/fine-tunes")

    assert [words[:27] for words in desk.emulator.violations] == ["answer to GET /v1/fine-tune"]
    desk.emulator.violations.clear()
