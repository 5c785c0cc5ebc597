"""Real input: banking77 (Casanueva et al., 2020, CC-BY-4.0) from ../shared, SmolLM2-135M, the installed command.

Ten intents, 400 training rows of train.csv, 200 held-out rows of test.csv as a held-out file. Only read by the slow
suite: a user has no such folder. `FTORCH_KEEP=folder` keeps what was made, for a look.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e.shell import Shell, write_rows
from oracle.bank import rows, write_csv

INTENTS = (
    "card_arrival",
    "lost_or_stolen_card",
    "exchange_rate",
    "top_up_failed",
    "change_pin",
    "cash_withdrawal_charge",
    "request_refund",
    "terminate_account",
    "transfer_timing",
    "verify_my_identity",
)
_SECONDS = 1500.0

SFT = """\
version: 1
name: banking-sft
base_model: builtin:smollm2-135m
method: {type: sft, lora: {rank: 8, alpha: 16}, epochs: 1, learning_rate: 1.0e-3, batch_size: 8, max_length: 256,
         save_every_steps: 10}
dataset: {path: train.csv, columns: {text: text, label: category}, labels: from_data,
          system: "Name the intent of the customer's question.", held_out: {path: held_out.csv}}
provider: {name: local}
budget: {limit: 1.00 USD}
"""

DPO = """\
version: 1
name: banking-dpo
base_model: builtin:smollm2-135m
method: {type: dpo, beta: 0.1, lora: {rank: 8, alpha: 16}, epochs: 1, learning_rate: 5.0e-4, batch_size: 4,
         max_length: 256, save_every_steps: 10}
dataset: {path: pairs.jsonl, held_out: {path: held_out_pairs.jsonl}}
provider: {name: local}
budget: {limit: 1.00 USD}
"""


def pairs(source: list[dict[str, str]]) -> list[dict[str, str]]:
    """Chosen is the right intent, rejected another one by a fixed seed."""
    chance = random.Random(11)
    return [
        {
            "prompt": row["text"],
            "chosen": row["category"],
            "rejected": chance.choice([intent for intent in INTENTS if intent != row["category"]]),
        }
        for row in source
    ]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = Path(os.environ.get("FTORCH_KEEP") or tmp_path_factory.mktemp("bank"))
    folder.mkdir(exist_ok=True)
    write_csv(folder / "train.csv", rows("train.csv", INTENTS, 40))
    write_csv(folder / "held_out.csv", rows("test.csv", INTENTS, 20))
    write_rows(folder / "pairs.jsonl", pairs(rows("train.csv", INTENTS, 16)))
    write_rows(folder / "held_out_pairs.jsonl", pairs(rows("test.csv", INTENTS, 20)))
    (folder / "sft.yaml").write_text(SFT)
    (folder / "dpo.yaml").write_text(DPO)
    (folder / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    shell = Shell(folder)
    yield shell
    shell.end_all()


def evaluate(shell: Shell, name: str, kind: str, adapter: str | None) -> list[dict[str, Any]]:
    """Scores of the held-out rows that the job froze, by the trainer's own evaluation."""
    [job] = [job for job in shell.json("jobs") if job["name"] == name]
    [frozen] = (path for path in shell.home.glob("datasets/*/held_out.jsonl") if fits(path, kind))
    base = shell.home / "bases" / "smollm2-135m"
    spec = {
        "version": 1,
        "kind": kind,
        "base_model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "path": str(base), "revision": None},
        "adapter": adapter and job["adapter"],
        "rows_file": str(frozen),
        "batch_size": 8,
    }
    out = shell.folder / f"{name}-{'tuned' if adapter else 'base'}"
    out.with_suffix(".json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "ftorch.trainer", "evaluate", str(out.with_suffix(".json")), "--out", str(out)]
    subprocess.run(command, check=True, timeout=_SECONDS)
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def fits(path: Path, kind: str) -> bool:
    first = json.loads(path.read_text().splitlines()[0])
    return ("chosen" in first) == (kind == "preference")


def exact_match(scores: list[dict[str, Any]]) -> float:
    right = sum(bool(row["output"].strip() == row["reference"].strip()) for row in scores)
    return right / len(scores)


@pytest.mark.timeout(_SECONDS)
def test_the_tuned_model_names_the_intent_where_the_base_does_not(bank: Shell) -> None:
    done = bank.run("submit", "sft.yaml", "--wait", longest_s=_SECONDS)
    assert done.returncode == 0, done.stderr

    base, tuned = (exact_match(evaluate(bank, "banking-sft", "generate", adapter)) for adapter in (None, "tuned"))

    print(f"exact match, 200 held-out rows: base {base:.3f}, tuned {tuned:.3f}")
    assert base <= 0.05
    assert tuned >= 0.80


def test_jobs_receipt_and_spend_agree(bank: Shell) -> None:
    [job] = [job for job in bank.json("jobs") if job["name"] == "banking-sft"]

    receipt = bank.json("adapters", "verify", job["id"])["receipt"]
    spend = bank.json("spend", "--job", job["id"])

    paid, tokens = job["runs"][0]["paid_seconds"], receipt["trained_tokens"]
    print(f"spend {spend['total']['amount']} USD for {paid} s, {tokens} tokens")
    assert (receipt["job"], receipt["run"]) == (job["id"], job["runs"][0]["key"])
    assert receipt["trained_tokens"] == job["runs"][0]["trained_tokens"]
    assert receipt["base_model"]["id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert Decimal(spend["total"]["amount"]) == Decimal(job["spend"]["amount"]) > 0


@pytest.mark.timeout(_SECONDS)
def test_the_adapter_loads_in_plain_peft_and_generates(bank: Shell) -> None:
    [job] = [job for job in bank.json("jobs") if job["name"] == "banking-sft"]
    base = bank.home / "bases" / "smollm2-135m"
    script = (
        "import sys, torch\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "base, adapter = sys.argv[1:]\n"
        "tokenizer = AutoTokenizer.from_pretrained(adapter)\n"
        "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), adapter)\n"
        "messages = [{'role': 'system', 'content': \"Name the intent of the customer's question.\"},\n"
        "            {'role': 'user', 'content': 'My new card still has not come in the post.'}]\n"
        "text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)\n"
        "ids = tokenizer(text, return_tensors='pt', add_special_tokens=False)\n"
        "out = model.generate(**ids, max_new_tokens=12, do_sample=False)\n"
        "print(tokenizer.decode(out[0, ids['input_ids'].shape[1]:], skip_special_tokens=True).strip())\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", script, str(base), job["adapter"]],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert said.stdout.strip() in INTENTS


@pytest.mark.timeout(_SECONDS)
def test_dpo_prefers_the_right_intent_more_often_than_chance(bank: Shell) -> None:
    done = bank.run("submit", "dpo.yaml", "--wait", longest_s=_SECONDS)
    assert done.returncode == 0, done.stderr

    base = preference(evaluate(bank, "banking-dpo", "preference", None))
    tuned = preference(evaluate(bank, "banking-dpo", "preference", "tuned"))

    print(f"preference accuracy, 200 held-out pairs: base {base:.3f}, tuned {tuned:.3f}")
    assert tuned > 0.65
    assert tuned > base


def preference(scores: list[dict[str, Any]]) -> float:
    return sum(bool(row["chosen_logp"] > row["rejected_logp"]) for row in scores) / len(scores)
