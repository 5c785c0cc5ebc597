"""Together from a manifest to a verified adapter and the cent, by the installed command and the emulator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell
from ftorch.emulators.clock import FastClock
from ftorch.emulators.together import KEY, TogetherEmulator

_MINUTE_IN_A_SECOND = 60.0


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A copy of the examples, and no account."""
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    shell = Shell(tmp_path, {"HOME": str(tmp_path)})
    yield shell
    shell.end_all()


@pytest.fixture
def emulator() -> Iterator[TogetherEmulator]:
    with TogetherEmulator(FastClock(_MINUTE_IN_A_SECOND)) as emulator:
        yield emulator
    assert emulator.violations == []


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_plan_needs_neither_a_key_nor_the_network(shell: Shell, method: str) -> None:
    done = shell.run("plan", f"jobs/together-{method}.yaml", extra={"TOGETHER_BASE_URL": "http://127.0.0.1:1"})

    assert done.returncode == 0, done.stderr
    assert "estimate: 4.00 USD" in done.stderr
    assert "live check of together: never" in done.stderr
    assert "TOGETHER_API_KEY found in none of the environment, ./.env, a login file" in done.stderr


def test_a_submit_without_a_key_makes_no_job(shell: Shell) -> None:
    done = shell.run("submit", "jobs/together-sft.yaml", "--yes")

    assert done.returncode == 4
    assert "hint: get one: https://api.together.ai/settings/api-keys" in done.stderr
    assert shell.jobs_in_database() == 0


def test_a_plan_that_together_cannot_train_is_refused_with_its_sentence(shell: Shell) -> None:
    manifest = shell.folder / "jobs" / "together-sft.yaml"
    manifest.write_text(manifest.read_text().replace("epochs: 10", "epochs: 2.5, quantize: 4bit"))

    done = shell.run("plan", "jobs/together-sft.yaml")

    assert done.returncode == 3
    assert "together trains whole epochs only; round method.epochs" in done.stderr
    assert "together chooses the precision of the training itself" in done.stderr


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_an_example_becomes_an_adapter_at_home_and_a_cost_to_the_cent(
    shell: Shell, emulator: TogetherEmulator, method: str
) -> None:
    account = {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": KEY}

    done = shell.run("submit", f"jobs/together-{method}.yaml", "--wait", "--yes", "--json", extra=account)

    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout)
    [run] = job["runs"]
    assert shell.run("adapters", "verify", job["adapter"]).returncode == 0
    config = json.loads(Path(job["adapter"], "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("Qwen/Qwen3-8B", 16)
    spend = shell.json("spend")
    truth = emulator.service.truth(emulator.service.newest(run["key"]))
    assert Decimal(spend["total"]["amount"]) == truth == Decimal("4.00")
    assert emulator.requests["POST /v1/fine-tunes"] == emulator.service.creates[run["key"]] == 1
    logged = shell.run("logs", job["id"], extra=account).stdout
    assert "job_complete" in logged
    assert " loss " in logged


@pytest.mark.parametrize(
    ("change", "words", "hint"),
    [
        (("Qwen/Qwen3-8B", "HuggingFaceTB/SmolLM3-3B"), "together does not fine-tune", "its models: https://"),
        (("rank: 16", "rank: 128"), "method.lora.rank is 128, the most is 64", "change the manifest"),
        (("limit: 10.00", "limit: 11.00"), "together does not let the job proceed", "add credit"),
    ],
    ids=["not tunable", "rank", "no credit"],
)
def test_what_together_refuses_is_told_with_what_to_do_and_nothing_is_paid(
    shell: Shell, emulator: TogetherEmulator, change: tuple[str, str], words: str, hint: str
) -> None:
    emulator.service.credit_limit = Decimal(3) if hint == "add credit" else Decimal(100)
    manifest = shell.folder / "jobs" / "together-sft.yaml"
    manifest.write_text(manifest.read_text().replace(*change))
    account = {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": KEY}

    done = shell.run("submit", "jobs/together-sft.yaml", "--wait", "--yes", extra=account)

    assert done.returncode == 7, done.stderr
    assert words in done.stderr
    assert f"hint: {hint}" in done.stderr
    assert emulator.requests["POST /v1/fine-tunes"] == 0


def test_the_bill_takes_the_place_of_the_record_and_explains_itself(shell: Shell) -> None:
    clock = FastClock(_MINUTE_IN_A_SECOND)
    # Its hours are over when ours asks for them, also on a slow machine: a minute goes by there in a second of ours.
    clock.advance(-4 * 3600)
    with TogetherEmulator(clock) as emulator:
        account = {"TOGETHER_BASE_URL": emulator.url, "TOGETHER_API_KEY": KEY}
        done = shell.run("submit", "jobs/together-sft.yaml", "--wait", "--yes", "--json", extra=account)
        assert done.returncode == 0, done.stdout + done.stderr
        [run] = json.loads(done.stdout)["runs"]
        truth = emulator.service.truth(emulator.service.newest(run["key"]))
        clock.advance(2 * 3600)

        pulled = shell.run("bill", "pull", "together", "--json", extra=account)
        again = shell.run("bill", "pull", "together", "--json", extra=account)
        emulator.service.billing_enabled.clear()
        refused = shell.run("bill", "pull", "together", extra=account)

    assert (pulled.returncode, again.returncode, refused.returncode) == (0, 0, 0), pulled.stderr
    [first], [second] = json.loads(pulled.stdout), json.loads(again.stdout)
    assert first["run"] > 0
    assert (first["unexplained"], second["appended"]) == (0, 0)
    assert "together does not let the organisation" in refused.stderr
    total = shell.json("spend")["total"]
    assert (Decimal(total["amount"]), total["source"], total["status"]) == (truth, "billing_api", "billed")
    entry = next(entry for entry in shell.json("ledger") if entry["amount"]["source"] == "billing_api")
    view = shell.json("bill", "explain", str(entry["id"]))
    assert (view["place"], view["run"]["key"]) == ("run", run["key"])
