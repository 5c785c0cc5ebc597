"""`ftorch eval` through the installed command: real answers of the tiny model, a hosted model on 127.0.0.1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from e2e.shell import MANIFEST, Shell, colours, furnish, kill, until, write_rows
from ftorch.core.clock import ManualClock
from sample.chat import KEY, MODEL, ChatService, Fault

GATED = (
    MANIFEST
    + """\
eval: {compare_to: [base], gate: {primary: exact_match, at_least: 0.80, beats: base}}
lifetime: {calls_per_period: 1000, periods: 24, hosted: {per_call: 0.005 USD, source: test},
           serving: {per_call: 0.0005 USD, source: test}}
"""
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder with a job that has succeeded."""
    made = furnish(tmp_path_factory.mktemp("eval"))
    write_rows(made.folder / "rows.jsonl", colours(120))
    (made.folder / "job.yaml").write_text(GATED)
    done = made.run("submit", "job.yaml", "--wait")
    assert done.returncode == 0, done.stderr
    yield made
    made.end_all()


@pytest.fixture
def service() -> Iterator[ChatService]:
    with ChatService(ManualClock()) as running:
        running.answer = lambda prompt: {n["prompt"]: n["completion"] for n in colours(120)}[prompt]
        yield running


def hosted(service: ChatService) -> list[str]:
    return ["--against", service.url, "--model", MODEL, "--api-key", "env:HOSTED_KEY"]


def test_a_model_that_fails_its_gate_ends_with_exit_code_12(shell: Shell) -> None:
    done = shell.run("eval", "colours")

    assert done.returncode == 12
    assert "verdict: fail" in done.stderr
    assert shell.json("jobs")[0]["verdict"] == "fail"


def test_the_report_has_the_shape_of_its_schema(shell: Shell) -> None:
    schema = json.loads(shell.run("schema", "output", "eval").stdout)

    report = json.loads(shell.run("eval", "colours", "--json").stdout)

    jsonschema.validate(report, schema)
    assert [model["name"] for model in report["models"]] == ["tuned", "base"]
    assert report["quality"]["state"] == "not_measured"


def test_nobody_is_asked_twice_and_nothing_is_paid_twice(shell: Shell) -> None:
    shell.run("eval", "colours")
    before = shell.json("ledger")

    again = shell.run("eval", "colours")

    assert again.returncode == 12
    assert shell.json("ledger") == before
    assert [entry["description"].split(" on ")[0] for entry in before if entry["run"] is None] == [
        "evaluating tuned",
        "evaluating base",
    ]


def test_what_the_base_answered_for_one_job_stays_paid_by_it(shell: Shell) -> None:
    shell.run("eval", "colours")
    before = shell.json("ledger")
    (shell.folder / "again.yaml").write_text(GATED.replace("name: colours", "name: again"))
    assert shell.run("submit", "again.yaml", "--wait").returncode == 0

    assert shell.run("eval", "again").returncode == 12

    entries = shell.json("ledger")
    assert [entry for entry in entries if "evaluating base" in entry["description"]] == [
        entry for entry in before if "evaluating base" in entry["description"]
    ]


def test_the_hosted_models_answers_are_paid_once_and_booked_to_the_cent(shell: Shell, service: ChatService) -> None:
    first = shell.run("eval", "job.yaml", *hosted(service), "--json", extra={"HOSTED_KEY": KEY})
    again = shell.run("eval", "job.yaml", *hosted(service), "--json", extra={"HOSTED_KEY": KEY})

    report = json.loads(first.stdout)
    booked = sum(Decimal(e["amount"]["amount"]) for e in shell.json("ledger") if e["provider"] == "endpoint")
    assert set(service.asked.values()) == {1}
    assert booked == report["rows"] * Decimal("0.005")
    assert json.loads(again.stdout)["comparison"] == report["comparison"]
    assert report["quality"]["state"] == "worse"
    assert report["models"][1]["cost_per_call"] == {"amount": "0.005", "currency": "USD"}


def test_the_key_is_nowhere_in_the_state_folder(shell: Shell, service: ChatService) -> None:
    shell.run("eval", "job.yaml", *hosted(service), extra={"HOSTED_KEY": KEY})

    holders = [path for path in shell.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]

    assert holders == []


def test_a_cut_connection_keeps_what_was_answered(shell: Shell, service: ChatService) -> None:
    service.script(None, times=5)
    service.script(Fault.HTML)

    cut = shell.run("eval", "job.yaml", *hosted(service), "--json", extra={"HOSTED_KEY": KEY})
    service.clear()
    again = shell.run("eval", "job.yaml", *hosted(service), extra={"HOSTED_KEY": KEY})

    assert cut.returncode == 6
    assert json.loads(cut.stdout)["error"]["hint"]
    assert again.returncode == 12
    assert sorted(service.asked.values())[:-1] == [1] * (len(service.asked) - 1)


def test_what_is_logged_meanwhile_is_no_part_of_the_answer(shell: Shell, service: ChatService) -> None:
    service.script(Fault.ERROR)

    done = shell.run("eval", "colours", *hosted(service), "--json", extra={"HOSTED_KEY": KEY})

    assert json.loads(done.stdout)["rows"] > 0
    assert "asking again" in done.stderr


def test_an_endpoint_that_is_down_is_a_provider_error_with_the_next_step(shell: Shell) -> None:
    down = shell.run("eval", "colours", "--against", "http://127.0.0.1:9/v1", "--model", "m")

    assert down.returncode == 6
    assert "hint:" in down.stderr


def test_a_key_that_is_not_set_is_named(shell: Shell, service: ChatService) -> None:
    refused = shell.run("eval", "colours", *hosted(service))

    assert refused.returncode == 4
    assert "HOSTED_KEY is not set" in refused.stderr
    assert not service.asked


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--against", "http://127.0.0.1:9/v1"], "--model NAME"),
        (["--against", "http://127.0.0.1:9/v1", "--model", "m", "--api-key", "sk-secret"], "--api-key env:NAME"),
        (["--against", "hosted"], "--scores FILE"),
        (["--against", "no-such-adapter"], "ftorch adapters"),
    ],
)
def test_a_comparison_that_cannot_be_made_says_what_to_type(shell: Shell, words: list[str], told: str) -> None:
    refused = shell.run("eval", "colours", *words)

    assert refused.returncode == 2
    assert told in refused.stderr
    assert "sk-secret" not in refused.stderr


def test_prompts_answered_elsewhere_come_back_as_scores(shell: Shell, tmp_path: Path) -> None:
    prompts, scores = tmp_path / "prompts.jsonl", tmp_path / "scores.jsonl"
    answers = {row["prompt"]: row["completion"] for row in colours(120)}
    shell.run("eval", "colours", "--prompts", str(prompts))
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    write_rows(scores, [{**row, "output": answers[row["messages"][-1]["content"]]} for row in rows])

    report = json.loads(shell.run("eval", "colours", "--scores", str(scores), "--json").stdout)

    figures = {one["model"]: one["value"] for one in report["comparison"]["figures"]}
    assert figures["hosted"] == 1.0


def test_scores_of_other_rows_are_refused(shell: Shell, tmp_path: Path) -> None:
    write_rows(tmp_path / "scores.jsonl", [{"row_sha256": "0" * 64, "output": "blue"}])

    refused = shell.run("eval", "colours", "--scores", str(tmp_path / "scores.jsonl"))

    assert refused.returncode == 3
    assert "is not one of the held-out rows" in refused.stderr
    assert "--prompts" in refused.stderr


def test_an_adapter_for_another_base_is_refused(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(shell.json("jobs")[0]["adapter"], other)
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "Qwen/Qwen3-8B"}))

    refused = shell.run("eval", "colours", "--against", str(other))

    assert refused.returncode == 10
    assert "is for the base model 'Qwen/Qwen3-8B', the job's is 'builtin:tiny'" in refused.stderr


def test_an_adapter_that_was_trained_on_held_out_rows_is_refused(shell: Shell, tmp_path: Path) -> None:
    manifest = GATED.replace("name: colours", "name: leaky").replace("rows.jsonl", "leaky-rows/rows.jsonl")
    (shell.folder / "leaky-rows").mkdir(exist_ok=True)
    write_rows(shell.folder / "leaky-rows" / "rows.jsonl", colours(120))
    (shell.folder / "leaky.yaml").write_text(manifest.replace("seed: 42", "seed: 7"))
    assert shell.run("submit", "leaky.yaml", "--wait").returncode == 0

    refused = shell.run("eval", "colours", "--against", "leaky")

    assert refused.returncode == 3
    assert "leaky was trained on" in refused.stderr


def test_an_adapter_whose_training_nobody_knows_here_is_compared_with_a_warning(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(shell.json("jobs")[0]["adapter"], other)
    receipt = json.loads((other / "receipt.json").read_text())
    (other / "receipt.json").write_text(json.dumps({**receipt, "dataset": {"content_hash": "0" * 64}}))

    found = shell.run("eval", "colours", "--against", str(other), "--json")

    warnings = json.loads(found.stdout)["warnings"]
    assert any("nobody can tell whether it knows these answers" in words for words in warnings)


def test_too_few_rows_say_how_to_get_more(shell: Shell) -> None:
    manifest = GATED.replace("name: colours", "name: few").replace("rows.jsonl", "few/rows.jsonl")
    (shell.folder / "few").mkdir(exist_ok=True)
    write_rows(shell.folder / "few" / "rows.jsonl", colours(30))
    (shell.folder / "few.yaml").write_text(manifest.replace("epochs: 4", "epochs: 1"))
    assert shell.run("submit", "few.yaml", "--wait").returncode == 0

    refused = shell.run("eval", "few")

    assert refused.returncode == 3
    assert "are too few to tell anything" in refused.stderr
    assert "dataset.held_out.fraction" in refused.stderr


def test_evaluation_is_paid_from_the_budget(shell: Shell) -> None:
    (shell.folder / "poor.yaml").write_text(GATED.replace("5.00 USD", "0.0001 USD"))

    refused = shell.run("eval", "poor.yaml", "--against", "http://127.0.0.1:9/v1", "--model", "m")

    assert refused.returncode == 5
    assert "is used up" in refused.stderr
    assert "ftorch eval MANIFEST" in refused.stderr


def test_a_job_without_an_adapter_cannot_be_evaluated(shell: Shell) -> None:
    (shell.folder / "late.yaml").write_text(GATED.replace("name: colours", "name: late"))
    shell.run("submit", "late.yaml", extra={"FTORCH_HOME": str(shell.folder / "late-home")})

    refused = shell.run("eval", "late", extra={"FTORCH_HOME": str(shell.folder / "late-home")})

    assert refused.returncode == 9
    assert "ftorch wait" in refused.stderr
    shell.run("wait", "late", extra={"FTORCH_HOME": str(shell.folder / "late-home")})


def test_an_evaluation_that_was_killed_goes_on_and_both_attempts_are_paid(shell: Shell) -> None:
    shutil.rmtree(shell.home / "evaluations")
    before = len(shell.json("ledger"))
    killed = shell.start("eval", "colours")
    events = until(lambda: next(shell.home.glob("evaluations/*/out/events.jsonl"), None))
    started = until(lambda: [json.loads(line) for line in events.read_text().splitlines(keepends=True)][:1])

    kill(killed.pid)
    kill(started[0]["pid"])
    again = shell.run("eval", "colours")

    entries = shell.json("ledger")[before:]
    assert again.returncode == 12
    assert [entry["description"].split(" on ")[0] for entry in entries].count("evaluating tuned") == 2
    assert all(Decimal(entry["amount"]["amount"]) >= 0 for entry in entries)
