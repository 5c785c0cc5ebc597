"""`ftorch decide` and the whole lifetime through the installed command: answers, exit codes, shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from e2e.shell import MANIFEST, Shell
from unit.costs.test_logs import LINES

TASK = """\
task:
  kind: router
  target: {at_least: 0.9}
  prompted: {correct: %d, rows: 500, source: run 1}
  retrieval: {not_applicable: "nothing to look up"}
"""
LIFETIME = """\
lifetime: {calls_per_period: 200000, periods: 24, train_cost: {assumed: 2500 USD, source: quote},
           hosted: %s, serving: {per_call: 0.0005 USD, source: quote}}
"""
PER_CALL = "{per_call: 0.005 USD, source: list}"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def write(shell: Shell, *blocks: str) -> None:
    (shell.folder / "job.yaml").write_text(MANIFEST + "".join(blocks))


@pytest.mark.parametrize(
    ("correct", "code", "answer"), [(300, 0, "fine tune"), (450, 13, "unknown"), (490, 12, "prompt")]
)
def test_the_exit_code_is_the_answer(shell: Shell, correct: int, code: int, answer: str) -> None:
    write(shell, TASK % correct, LIFETIME % PER_CALL)

    done = shell.run("decide", "job.yaml")

    assert done.returncode == code, done.stderr
    assert f"answer: {answer}: " in done.stdout
    assert f"{correct} of 500 rows" in done.stdout


def test_what_is_missing_is_a_hint(shell: Shell) -> None:
    write(shell, TASK % 300)

    done = shell.run("decide", "job.yaml")

    assert done.returncode == 13
    assert "hint: add lifetime:" in done.stderr
    assert "in any case not: prompt, retrieve" in done.stdout


def test_the_json_has_the_shape_of_its_schema(shell: Shell) -> None:
    write(shell, TASK % 300, LIFETIME % PER_CALL)
    schema = json.loads(shell.run("schema", "output", "decide").stdout)

    answer = shell.json("decide", "job.yaml")

    jsonschema.validate(answer, schema)
    assert answer["answer"] == "fine_tune"
    assert {change["input"] for change in answer["would_change"]} >= {"calls_per_period", "prompting_fails"}


def test_the_symptoms_are_listed(shell: Shell) -> None:
    assert "vague_answers" in shell.run("decide", "--symptoms").stdout
    assert shell.json("decide", "--symptoms")[0]["answer"] == "prompt"


def test_decide_about_nothing_is_a_usage_error(shell: Shell) -> None:
    assert shell.run("decide").returncode == 2


def test_a_fault_in_task_has_its_line(shell: Shell) -> None:
    write(shell, TASK.replace("correct: %d", "correct: 501"))

    refused = shell.run("decide", "job.yaml")

    assert refused.returncode == 3
    assert "501 of 500 rows cannot be right" in refused.stderr


def log_lines(days: int) -> str:
    rows: list[Any] = [
        {**LINES["litellm"], "startTime": f"2026-10-{day:02}T12:00:00Z", "spend": 0.005}
        for day in range(1, days + 1)
        for _ in range(4)
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_logs_beside_the_manifest_are_the_hosted_price(shell: Shell) -> None:
    (shell.folder / "calls.jsonl").write_text(log_lines(31))
    write(shell, LIFETIME % "{logs: calls.jsonl}")

    done = shell.run("lifetime", "job.yaml", "--start", "2026-11-01")

    assert "124 calls in calls.jsonl, 2026-10-01 to 2026-10-31" in done.stdout
    assert "19,100.00 USD (79.6 %)" in done.stdout


def test_a_broken_log_is_named_with_its_line(shell: Shell) -> None:
    (shell.folder / "calls.jsonl").write_text(log_lines(31) + '{"spend": 1}\n')
    write(shell, LIFETIME % "{logs: calls.jsonl}")

    refused = shell.run("lifetime", "job.yaml")

    assert refused.returncode == 3
    assert "calls.jsonl:125: has no startTime" in refused.stderr


def test_the_seed_and_the_tornado_are_printed(shell: Shell) -> None:
    write(shell, LIFETIME % PER_CALL)

    done = shell.run("lifetime", "job.yaml", "--tornado", "tornado.svg")

    assert "10,000 draws, seed 42" in done.stdout
    assert "what moves it" in done.stdout
    assert (shell.folder / "tornado.svg").read_text().startswith("<svg")


def test_a_stale_own_price_is_marked(shell: Shell) -> None:
    (shell.folder / "ftorch.toml").write_text(
        '[prices.hosted."m"]\ninput = "1.00 USD"\noutput = "2.00 USD"\nsource = "deal"\ndate = 2026-01-05\n'
    )
    write(shell, LIFETIME % "{model: m, input_tokens: 1000, output_tokens: 100}")

    done = shell.run("lifetime", "job.yaml", "--start", "2026-11-01")

    assert "the price of m is STALE: read on 2026-01-05" in done.stderr
    assert "ftorch.toml: deal" in done.stdout


def test_a_shutdown_cuts_the_horizon(shell: Shell) -> None:
    write(shell, LIFETIME.replace("hosted: %s", f"hosted: {PER_CALL}, hosted_shutdown: 2027-11-01"))

    done = shell.run("lifetime", "job.yaml", "--start", "2026-11-01")

    assert "2027-11-01: 12 months count" in done.stdout
    assert "12,000.00 USD" in done.stdout
