"""`ftorch lifetime` through the installed command: the worked example, and a job's real spend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from e2e.shell import MANIFEST, ROOT, Shell, colours, furnish, write_rows
from ftorch.core.clock import ManualClock
from sample.chat import MODEL, ChatService

EXAMPLE = str(ROOT / "jobs" / "worked-example.yaml")
PAYING = """\
eval: {compare_to: [], metrics: ["regex:.*"]}
lifetime: {calls_per_period: 200000, periods: 24, hosted: {per_call: 0.005 USD, source: list},
           serving: {per_call: 0.0005 USD, source: quote}}
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder with a job that has succeeded."""
    made = furnish(tmp_path_factory.mktemp("pays"))
    write_rows(made.folder / "rows.jsonl", colours(120))
    (made.folder / "job.yaml").write_text(MANIFEST.replace("epochs: 4", "epochs: 1") + PAYING)
    finished = made.run("submit", "job.yaml", "--wait")
    assert finished.returncode == 0, finished.stderr
    yield made
    made.end_all()


def test_the_worked_example_is_unknown_until_quality_is_measured(shell: Shell) -> None:
    done = shell.run("lifetime", EXAMPLE, "--start", "2026-11-01")

    assert done.returncode == 13
    assert "24,000.00 USD" in done.stdout
    assert "4,900.00 USD" in done.stdout
    assert "19,100.00 USD (79.6 %)" in done.stdout
    assert "after 2.78 months, 555,556 calls, on 2027-01-25" in done.stdout
    assert "unknown: quality not measured" in done.stdout
    assert "ftorch eval" in done.stderr


def test_the_json_has_the_shape_of_its_schema(shell: Shell) -> None:
    schema = json.loads(shell.run("schema", "output", "lifetime").stdout)

    answer = json.loads(shell.run("lifetime", EXAMPLE, "--json").stdout)

    jsonschema.validate(answer, schema)
    assert answer["saving"] == {"amount": "19100.00", "currency": "USD"}
    assert answer["verdict"] == "unknown"


def test_the_picture_is_written_where_it_is_asked_for(shell: Shell) -> None:
    shell.run("lifetime", EXAMPLE, "--svg", "lines.svg", "--no-plot")

    assert (shell.folder / "lines.svg").read_text().startswith("<svg")


def test_the_train_cost_is_what_the_ledger_has(done: Shell) -> None:
    answer = json.loads(done.run("lifetime", "colours", "--json").stdout)

    assert answer["train_cost"]["amount"]["amount"] == done.json("spend")["total"]["amount"]
    assert answer["train_cost"]["is_assumed"] is False
    assert "declared" in answer["train_cost"]["source"]


def test_equal_answers_on_few_rows_leave_quality_inconclusive(done: Shell) -> None:
    with ChatService(ManualClock()) as service:
        service.key = ""
        evaluated = done.run("eval", "colours", "--against", service.url, "--model", MODEL)
    assert evaluated.returncode == 0, evaluated.stderr

    paying = done.run("lifetime", "colours")

    # 24 rows of which every answer counts as right: no difference, and bounds far wider than the margin of 0.03.
    assert paying.returncode == 13
    assert "quality inconclusive" in paying.stdout
    assert Decimal(json.loads(done.run("lifetime", "colours", "--json").stdout)["saving_percent"]) > 89


def test_a_manifest_without_lifetime_says_what_to_add(done: Shell) -> None:
    (done.folder / "plain.yaml").write_text(MANIFEST)

    refused = done.run("lifetime", "plain.yaml")

    assert refused.returncode == 3
    assert "plain.yaml: lifetime: is missing" in refused.stderr
    assert "calls_per_period" in refused.stderr


def test_before_any_job_the_train_cost_is_unknown(shell: Shell) -> None:
    (shell.folder / "job.yaml").write_text(MANIFEST + PAYING)

    answer = shell.run("lifetime", "job.yaml")

    assert answer.returncode == 13
    assert "unknown: train cost not known" in answer.stdout
    assert "ftorch submit" in answer.stderr


def test_nothing_can_be_drawn_of_an_unknown_cost(shell: Shell) -> None:
    (shell.folder / "job.yaml").write_text(MANIFEST + PAYING)

    refused = shell.run("lifetime", "job.yaml", "--svg", "x.svg")

    assert refused.returncode == 2
    assert not (shell.folder / "x.svg").exists()


def test_a_name_that_is_nobodys_is_a_usage_error(shell: Shell) -> None:
    refused = shell.run("lifetime", "nobody")

    assert refused.returncode == 2
    assert "no job is called 'nobody'" in refused.stderr
