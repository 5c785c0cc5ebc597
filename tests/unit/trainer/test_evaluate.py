"""Evaluation on the tiny base model: answers, labels, preferences, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from unit.trainer.desk import Desk, Json, dpo_rows, sft_rows


def test_answers_come_in_row_order_with_the_hash_of_their_row(desk: Desk, undisturbed: Desk) -> None:
    rows = sft_rows(11)
    spec = desk.evaluation(rows, kind="generate", adapter=str(undisturbed.out() / "adapter"), batch_size=4)

    assert desk.evaluate(spec) == 0

    scores = desk.lines("scores.jsonl", "scored")
    lines = (desk.folder / "held_out.jsonl").read_bytes().splitlines()
    assert [score["row"] for score in scores] == list(range(11))
    assert [score["row_sha256"] for score in scores] == [hashlib.sha256(line).hexdigest() for line in lines]
    assert [score["reference"] for score in scores] == [row["completion"][0]["content"] for row in rows]


def test_adapter_changes_what_is_answered(desk: Desk, undisturbed: Desk) -> None:
    spec = desk.evaluation(sft_rows(8), kind="generate")
    adapter = str(undisturbed.out() / "adapter")

    assert desk.evaluate(spec, "base") == 0
    assert desk.evaluate(desk.changed(spec, adapter=adapter), "tuned") == 0

    tuned = [score["output"] for score in desk.lines("scores.jsonl", "tuned")]
    assert all(output.startswith("number") for output in tuned)
    assert tuned != [score["output"] for score in desk.lines("scores.jsonl", "base")]
    assert (
        desk.result("tuned")["adapter_sha256"] == undisturbed.result()["files"]["adapter_model.safetensors"]["sha256"]
    )
    assert desk.result("base")["adapter_sha256"] is None


def test_answers_are_at_most_half_as_long_again_as_the_longest_reference(desk: Desk) -> None:
    assert desk.evaluate(desk.evaluation(sft_rows(4), kind="generate")) == 0

    # "number 3", its end token and a newline are ten byte tokens.
    assert desk.result("scored")["effective"]["max_new_tokens"] == 15
    assert max(score["output_tokens"] for score in desk.lines("scores.jsonl", "scored")) == 15


def test_padding_changes_no_answer(desk: Desk, undisturbed: Desk) -> None:
    spec = desk.evaluation(
        sft_rows(7), kind="generate", adapter=str(undisturbed.out() / "adapter"), dtype="float32", batch_size=1
    )

    assert desk.evaluate(spec, "alone") == 0
    assert desk.evaluate(desk.changed(spec, batch_size=7), "together") == 0

    assert _outputs(desk, "alone") == _outputs(desk, "together")


def _outputs(desk: Desk, out: str) -> list[str]:
    return [score["output"] for score in desk.lines("scores.jsonl", out)]


def test_label_choice_equals_scoring_every_label_on_its_own(desk: Desk, undisturbed: Desk, tiny: Path) -> None:
    # More labels than fit into one pass, so that the prompt's cache is used twice.
    labels = [*(f"number {n}" for n in range(35)), "x", "a label that is much longer than the others"]
    adapter = undisturbed.out() / "adapter"
    rows = sft_rows(2)
    spec = desk.evaluation(rows, kind="generate", labels=labels, adapter=str(adapter), dtype="float32")

    assert desk.evaluate(spec) == 0

    for score, row in zip(desk.lines("scores.jsonl", "scored"), rows, strict=True):
        naive = _log_probabilities(tiny, adapter, row["prompt"], labels)
        assert score["label_logprobs"] == pytest.approx(naive, abs=1e-3)
        assert score["label"] == max(naive, key=lambda label: naive[label])


def _log_probabilities(tiny: Path, adapter: Path, prompt: list[Json], labels: list[str]) -> dict[str, float]:
    """Each label with its end token, by one pass over its whole conversation."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), str(adapter))
    head = tokenizer(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)).input_ids

    def alone(label: str) -> float:
        answer = tokenizer(f"{label}<|im_end|>").input_ids
        with torch.no_grad():
            likely = model(input_ids=torch.tensor([head + answer])).logits[0].log_softmax(dim=-1)
        return sum(float(likely[len(head) - 1 + place, token]) for place, token in enumerate(answer))

    return {label: alone(label) for label in labels}


def test_preferred_answers_get_a_positive_margin(desk: Desk, tuned: Desk) -> None:
    spec = desk.evaluation(dpo_rows(6), kind="preference", adapter=str(tuned.out() / "adapter"))

    assert desk.evaluate(spec) == 0

    scores = desk.lines("scores.jsonl", "scored")
    assert all(score["margin"] > 0 for score in scores)
    for score in scores:
        chosen = score["chosen_logp"] - score["base_chosen_logp"]
        rejected = score["rejected_logp"] - score["base_rejected_logp"]
        assert score["margin"] == pytest.approx(0.1 * (chosen - rejected))


def test_preference_of_a_base_model_is_the_plain_difference(desk: Desk) -> None:
    assert desk.evaluate(desk.evaluation(dpo_rows(3), kind="preference")) == 0

    for score in desk.lines("scores.jsonl", "scored"):
        assert score["margin"] == pytest.approx(score["chosen_logp"] - score["rejected_logp"])
        assert score["base_chosen_logp"] is None


def test_killed_evaluation_goes_on_with_the_rows_that_are_left(desk: Desk) -> None:
    spec = desk.evaluation(sft_rows(10), kind="generate", batch_size=3)
    assert desk.evaluate(spec, "whole") == 0
    header, *scores = desk.lines("partial.jsonl", "whole")
    desk.out("killed").mkdir()
    kept = [header, *scores[:3]]
    torn = "".join(json.dumps(line) + "\n" for line in kept) + json.dumps(scores[3])[:20]
    (desk.out("killed") / "partial.jsonl").write_text(torn)

    assert desk.evaluate(spec, "killed") == 0

    assert desk.lines("scores.jsonl", "killed") == desk.lines("scores.jsonl", "whole")
    assert [line["row"] for line in desk.lines("partial.jsonl", "killed") if "row" in line] == [
        line["row"] for line in scores
    ]


def test_partial_scores_of_another_evaluation_are_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    desk.out("scored").mkdir()
    (desk.out("scored") / "partial.jsonl").write_text('{"fingerprint": "other"}\n')

    assert desk.evaluate(desk.evaluation(sft_rows(2), kind="generate")) == 64
    assert "belongs to another job" in capfd.readouterr().err


def test_finished_evaluation_signs_its_scores_and_is_not_done_again(desk: Desk) -> None:
    spec = desk.evaluation(sft_rows(2), kind="generate")
    assert desk.evaluate(spec) == 0
    before = (desk.out("scored") / "events.jsonl").read_bytes()

    assert desk.evaluate(spec) == 0

    content = (desk.out("scored") / "scores.jsonl").read_bytes()
    signed = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert desk.result("scored")["files"] == {"scores.jsonl": signed}
    assert (desk.out("scored") / "events.jsonl").read_bytes() == before


def test_changed_held_out_file_is_refused(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    spec = desk.evaluation(sft_rows(2), kind="generate")
    desk.rows(sft_rows(3), "held_out.jsonl")

    assert desk.evaluate(spec) == 65
    assert "held_out.jsonl: sha256 is" in capfd.readouterr().err
