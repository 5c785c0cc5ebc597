"""Training from spec to result, in this process, on the tiny base model."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftorch.trainer.result import mean_of_last_tenth
from unit.trainer.desk import Desk, assistant, dpo_rows, sft_rows, user, without_torch


def test_finished_run_signs_every_file_of_the_adapter(undisturbed: Desk) -> None:
    files = undisturbed.result()["files"]

    assert files == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in undisturbed.adapter().items()
    }
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= set(files)


def test_adapter_names_the_canonical_base_and_not_the_folder(undisturbed: Desk, tiny: Path) -> None:
    config = json.loads(undisturbed.adapter()["adapter_config.json"])

    assert config["base_model_name_or_path"] == "builtin:tiny"
    assert not any(str(tiny).encode() in content for content in undisturbed.adapter().values())


def test_all_linear_is_written_by_short_names(undisturbed: Desk) -> None:
    config = json.loads(undisturbed.adapter()["adapter_config.json"])

    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def test_tokens_are_counted_as_an_independent_count_has_them(desk: Desk, tiny: Path) -> None:
    from transformers import AutoTokenizer

    assert desk.train(desk.sft(epochs=2)) == 0

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    whole = [_tokens(tokenizer, [*row["prompt"], *row["completion"]]) for row in sft_rows()]
    answers = [
        total - _tokens(tokenizer, row["prompt"], head=True) for row, total in zip(sft_rows(), whole, strict=True)
    ]
    result = desk.result()
    assert result["trained_tokens"] == 2 * sum(whole)
    assert result["loss_tokens"] == 2 * sum(answers)
    assert desk.events("train_begin")[0]["train_tokens"] == sum(whole)


def _tokens(tokenizer: Any, messages: list[dict[str, str]], *, head: bool = False) -> int:
    return len(tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=head)).input_ids)


def test_training_on_everything_counts_the_prompt_too(desk: Desk) -> None:
    assert desk.train(desk.sft(epochs=1, train_on="all")) == 0

    result = desk.result()
    assert result["loss_tokens"] == result["trained_tokens"] - result["train_rows"]  # a first token is never predicted


def test_result_tells_what_was_really_used(undisturbed: Desk) -> None:
    result = undisturbed.result()
    effective = result["effective"]

    assert (effective["batch_size"], effective["micro_batch_size"], effective["gradient_accumulation_steps"]) == (
        8,
        4,
        2,
    )
    assert effective["lora"]["dropout"] == 0.1
    assert effective["dtype"] == result["dtype"]
    assert effective["gradient_checkpointing"] is False
    assert result["versions"]["torch"]


def test_final_loss_is_the_mean_of_the_last_tenth_of_steps(undisturbed: Desk) -> None:
    losses = [row["loss"] for row in undisturbed.lines("metrics.jsonl")]

    assert len(losses) == undisturbed.result()["steps"] == 60
    assert undisturbed.result()["final_loss"] == pytest.approx(sum(losses[-6:]) / 6)
    assert mean_of_last_tenth(losses) < losses[0] - 1


def test_same_job_in_a_finished_folder_does_nothing(desk: Desk) -> None:
    spec = desk.sft(epochs=1)
    assert desk.train(spec) == 0
    before = {path: path.stat().st_mtime_ns for path in desk.out().rglob("*")}

    code = desk.train(desk.changed(spec, run_name="another", max_duration_s=99, threads=2))

    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in desk.out().rglob("*")} == before


def test_other_job_in_a_finished_folder_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.sft(epochs=1)
    assert desk.train(spec) == 0

    code = desk.train(desk.changed(spec, learning_rate=0.5))

    assert code == 64
    assert "holds the result of another job" in capfd.readouterr().err


def test_folder_in_use_is_left_alone(desk: Desk) -> None:
    desk.out().mkdir()
    with (desk.out() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        code = desk.train(desk.sft())

    assert code == 73
    assert [path.name for path in desk.out().iterdir()] == ["lock"]


def test_checkpoint_of_another_job_is_refused_by_the_key_that_differs(
    desk: Desk, undisturbed: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed.out() / "checkpoints", desk.out() / "checkpoints")

    code = desk.train(desk.sft(epochs=10, learning_rate=0.02))

    assert code == 64
    assert "belongs to another job: learning_rate differ" in capfd.readouterr().err


def test_run_killed_after_its_last_checkpoint_ends_without_torch(desk: Desk, undisturbed: Desk) -> None:
    spec = desk.sft(epochs=10)
    shutil.copytree(undisturbed.out() / "checkpoints", desk.out() / "checkpoints")
    shutil.copy(undisturbed.out() / "metrics.jsonl", desk.out())

    done = without_torch("train", spec, "--out", desk.out())

    assert done.returncode == 0, done.stderr
    assert desk.adapter() == undisturbed.adapter()
    for name in ("steps", "trained_tokens", "loss_tokens", "final_loss", "files", "effective"):
        assert desk.result()[name] == undisturbed.result()[name]


def test_step_limit_is_kept_when_the_last_checkpoint_lies_within_an_epoch(desk: Desk) -> None:
    spec = desk.sft(max_steps=4)
    assert desk.train(spec) == 0
    before = desk.adapter()
    (desk.out() / "result.json").unlink()

    assert desk.train(spec) == 0

    assert desk.adapter() == before
    assert max(row["step"] for row in desk.lines("metrics.jsonl")) == 4


def test_run_goes_on_from_another_runs_checkpoints(desk: Desk, undisturbed: Desk) -> None:
    shutil.copytree(undisturbed.out() / "checkpoints/checkpoint-50", desk.folder / "taken/checkpoint-50")
    spec = desk.sft(epochs=10, resume_from="taken")

    assert desk.train(spec) == 0

    assert desk.adapter() == undisturbed.adapter()
    result, whole = desk.result(), undisturbed.result()
    assert [result[name] for name in ("trained_tokens", "loss_tokens", "final_loss")] == [
        whole[name] for name in ("trained_tokens", "loss_tokens", "final_loss")
    ]
    assert [(a["from_step"], a["to_step"], a["how"]) for a in result["attempts"]] == [(50, 60, "succeeded")]
    assert [(a["from_step"], a["to_step"], a["how"]) for a in result["prior_attempts"]] == [(0, 50, "taken_over")]


def test_rows_that_lose_their_whole_answer_are_dropped_and_counted(desk: Desk) -> None:
    long = {"prompt": user("x" * 200), "completion": assistant("never seen")}

    assert desk.train(desk.sft([*sft_rows(14), long, long], max_length=64, epochs=1)) == 0

    assert (desk.result()["train_rows"], desk.result()["dropped_rows"]) == (14, 2)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_training_on_nothing_is_refused(desk: Desk, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.sft(max_length=8) if method == "sft" else desk.dpo(max_length=8)

    code = desk.train(spec)

    assert code == 65
    assert "no trained token in any row" in capfd.readouterr().err
    assert desk.events("failed")[0]["type"] == "DataError"


def test_validation_rows_are_measured_and_not_trained_on(desk: Desk) -> None:
    sha256 = desk.rows(sft_rows(6), "validation.jsonl")

    assert desk.train(desk.sft(epochs=2, validation_file="validation.jsonl", validation_sha256=sha256)) == 0

    result = desk.result()
    assert result["validation_loss"] == desk.lines("metrics.jsonl")[-1]["eval_loss"] > 0
    assert result["train_rows"] == 42


def test_deadline_ends_a_run_resumably(desk: Desk) -> None:
    code = desk.train(desk.sft(epochs=2000, max_duration_s=3))

    assert code == 75
    [interrupted] = desk.events("interrupted")
    assert interrupted["reason"] == "deadline"
    assert (desk.out() / f"checkpoints/checkpoint-{interrupted['step']}/.complete").exists()
    assert not (desk.out() / "result.json").exists()


def test_diverged_loss_ends_the_run(desk: Desk) -> None:
    code = desk.train(desk.sft(learning_rate=1e30, max_grad_norm=0, warmup_ratio=0))

    assert code == 70
    assert desk.events("failed")[0]["type"] == "Diverged"


def test_unknown_target_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    code = desk.train(desk.sft(lora={"targets": ["q_prj"]}))

    assert code == 64
    assert "the model has no 'q_prj' (did you mean 'q_proj'?)" in capfd.readouterr().err


def test_dpo_learns_the_preference(tuned: Desk) -> None:
    rows = tuned.lines("metrics.jsonl")

    assert rows[0]["rewards/margins"] == 0
    assert rows[-1]["rewards/margins"] > 0.5
    assert rows[-1]["loss"] < 0.6


def test_dpo_counts_both_answers(desk: Desk, tiny: Path) -> None:
    from transformers import AutoTokenizer

    assert desk.train(desk.dpo(epochs=1)) == 0

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    both = [
        _tokens(tokenizer, [*row["prompt"], *row[answer]]) for row in dpo_rows() for answer in ("chosen", "rejected")
    ]
    assert desk.result()["trained_tokens"] == sum(both)
    assert desk.events("train_begin")[0]["train_tokens"] == sum(both)


def test_sft_goes_on_from_an_adapter(desk: Desk, undisturbed: Desk) -> None:
    adapter = str(undisturbed.out() / "adapter")

    assert desk.train(desk.sft(epochs=1, from_adapter=adapter, lora={"rank": 2})) == 0

    assert desk.lines("metrics.jsonl")[0]["loss"] < undisturbed.lines("metrics.jsonl")[0]["loss"] - 1
    assert desk.result()["effective"]["lora"]["rank"] == 4  # the adapter brings its own shape


def test_dpo_from_an_adapter_takes_that_adapter_as_reference_also_after_a_resume(desk: Desk, undisturbed: Desk) -> None:
    adapter = str(undisturbed.out() / "adapter")
    spec = desk.dpo(from_adapter=adapter, save_every_steps=4)
    assert desk.train(spec) == 0
    shutil.copytree(desk.out() / "checkpoints/checkpoint-4", desk.folder / "taken/checkpoint-4")

    assert desk.train(desk.changed(spec, resume_from="taken"), "resumed") == 0

    # At the first step policy and reference are the same: against the bare base model the margin would not be zero.
    assert desk.lines("metrics.jsonl")[0]["rewards/margins"] == 0
    assert desk.adapter("resumed") == desk.adapter()
    again = {row["step"]: row["rewards/margins"] for row in desk.lines("metrics.jsonl", "resumed")}
    assert again == {row["step"]: row["rewards/margins"] for row in desk.lines("metrics.jsonl")}


def test_half_written_checkpoint_is_passed_over_and_removed(desk: Desk, undisturbed: Desk) -> None:
    checkpoints = desk.out() / "checkpoints"
    shutil.copytree(undisturbed.out() / "checkpoints/checkpoint-50", checkpoints / "checkpoint-50")
    shutil.copytree(undisturbed.out() / "checkpoints/checkpoint-60", checkpoints / "checkpoint-55")
    (checkpoints / "checkpoint-55/.complete").unlink()
    (checkpoints / "checkpoint-55/optimizer.pt").write_bytes(b"half")

    assert desk.train(desk.sft(epochs=10)) == 0

    assert desk.events("resume")[0]["checkpoint"] == "checkpoints/checkpoint-50"
    assert desk.adapter() == undisturbed.adapter()
    assert not (checkpoints / "checkpoint-55").exists()
