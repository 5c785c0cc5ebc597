"""The gate on real input: banking77, ten intents that no recipe was tuned on, SmolLM2-135M, the installed command.

Three jobs: 200 held-out rows pass, 30 are inconclusive, and an adapter trained on shuffled labels fails. Like
test_banking77.py it is of the slow suite alone, and fails where the data is missing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.shell import Shell
from oracle.bank import rows, write_csv

INTENTS = (
    "activate_my_card",
    "age_limit",
    "apple_pay_or_google_pay",
    "atm_support",
    "card_delivery_estimate",
    "card_not_working",
    "country_support",
    "declined_transfer",
    "edit_personal_details",
    "top_up_limits",
)
_SECONDS = 1500.0

MANIFEST = """\
version: 1
name: NAME
base_model: builtin:smollm2-135m
method: {type: sft, lora: {rank: 8, alpha: 16}, epochs: 1, learning_rate: 1.0e-3, batch_size: 8, max_length: 256,
         save_every_steps: 10}
dataset: {path: TRAIN, columns: {text: text, label: category}, labels: from_data,
          system: "Name the intent of the customer's question.", held_out: {path: HELD_OUT}}
provider: {name: local}
budget: {limit: 1.00 USD}
eval: {compare_to: [base], metrics: [exact_match, label_accuracy],
       gate: {primary: exact_match, at_least: 0.80, beats: base}}
"""


def shuffled(source: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same texts and the same labels, which no longer belong to each other."""
    labels = [row["category"] for row in source]
    random.Random(5).shuffle(labels)
    return [{**row, "category": label} for row, label in zip(source, labels, strict=True)]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("gate")
    train, held_out = rows("train.csv", INTENTS, 40), rows("test.csv", INTENTS, 20)
    for name, some in (("honest", train), ("small", train), ("shuffled", shuffled(train))):
        (folder / name).mkdir()
        write_csv(folder / name / "train.csv", some)
        write_csv(folder / name / "held_out.csv", held_out[:30] if name == "small" else held_out)
        text = MANIFEST.replace("NAME", name).replace("TRAIN", f"{name}/train.csv")
        (folder / f"{name}.yaml").write_text(text.replace("HELD_OUT", f"{name}/held_out.csv"))
    (folder / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    shell = Shell(folder)
    yield shell
    shell.end_all()


def judged(shell: Shell, name: str, exit_code: int) -> dict[str, Any]:
    """Train, evaluate, and return the report; the exit code is the verdict's."""
    done = shell.run("submit", f"{name}.yaml", "--wait", longest_s=_SECONDS)
    assert done.returncode == 0, done.stderr
    evaluated = shell.run("eval", name, "--json", longest_s=_SECONDS)
    assert evaluated.returncode == exit_code, evaluated.stdout + evaluated.stderr
    report: dict[str, Any] = json.loads(evaluated.stdout)
    for one in report["comparison"]["figures"]:
        print(f"{name}: {one['metric']} of {one['model']} {one['value']:.3f} on {one['rows']} rows")
    return report


@pytest.mark.timeout(_SECONDS)
def test_a_good_adapter_passes_on_200_rows_with_both_figures(bank: Shell) -> None:
    report = judged(bank, "honest", 0)

    assert report["verdict"] == "pass"
    assert {one["metric"] for one in report["comparison"]["differences"]} == {"exact_match", "label_accuracy"}
    assert all(one["p_value"] < 0.001 for one in report["comparison"]["differences"])


@pytest.mark.timeout(_SECONDS)
def test_thirty_rows_are_inconclusive(bank: Shell) -> None:
    assert judged(bank, "small", 13)["verdict"] == "inconclusive"


@pytest.mark.timeout(_SECONDS)
def test_an_adapter_trained_on_shuffled_labels_fails(bank: Shell) -> None:
    assert judged(bank, "shuffled", 12)["verdict"] == "fail"


def test_every_evaluation_is_in_the_ledger(bank: Shell) -> None:
    entries = [entry["description"] for entry in bank.json("ledger")]

    # The base answers the 200 rows once for two jobs.
    assert sum("evaluating base" in words for words in entries) == 2
    assert sum("evaluating tuned" in words for words in entries) == 3
    assert Path(bank.home, "evaluations").is_dir()
