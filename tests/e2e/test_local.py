"""One manifest on this machine, through the installed command, with the real trainer."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from e2e.shell import Shell, furnish, until, write_rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder in which the manifest was submitted once and waited for."""
    shell = furnish(tmp_path_factory.mktemp("done"))
    finished = shell.run("submit", "job.yaml", "--wait")
    assert finished.returncode == 0, finished.stderr
    yield shell
    shell.end_all()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = furnish(tmp_path)
    yield made
    made.end_all()


def test_the_job_ends_with_its_adapter_home_and_its_spend_known(done: Shell) -> None:
    [job] = done.json("jobs")

    assert (job["state"], job["reason"]) == ("succeeded", "completed")
    assert Path(job["adapter"], "adapter_model.safetensors").is_file()
    assert job["spend"]["source"] == "declared"


def test_the_spend_is_the_measured_time_at_the_declared_rate(done: Shell) -> None:
    [job] = done.json("jobs")
    [run] = job["runs"]

    expected = Decimal(run["paid_seconds"]) * Decimal("0.36") / 3600

    assert abs(Decimal(done.json("spend")["total"]["amount"]) - expected) < Decimal("0.000001")


def test_jobs_spend_and_ledger_agree(done: Shell) -> None:
    [job], [entry], spend = done.json("jobs"), done.json("ledger"), done.json("spend", "--by", "job")

    assert job["spend"]["amount"] == entry["amount"]["amount"] == spend["total"]["amount"]
    assert spend["rows"][0]["key"] == entry["job"] == job["id"]


def test_the_estimate_of_the_submit_stands_beside_the_spend(done: Shell, tmp_path: Path) -> None:
    # Planned where no job has ended yet: here the next estimate has learned from the first.
    planned, [row] = furnish(tmp_path).json("plan", "job.yaml"), done.json("spend")["rows"]

    told = Decimal(planned["estimate"]["amount"]["amount"])
    assert abs(Decimal(row["estimate"]["amount"]) - told) < Decimal("0.000001")
    assert row["error"] is not None


def test_the_adapter_is_verified_offline(done: Shell) -> None:
    answer = done.json("adapters", "verify", "colours")

    assert answer["valid"]
    assert answer["receipt"]["base_model"]["id"] == "builtin:tiny"


def test_a_damaged_adapter_is_refused_with_exit_code_10(done: Shell, tmp_path: Path) -> None:
    [job] = done.json("jobs")
    for file in Path(job["adapter"]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    refused = done.run("adapters", "verify", str(tmp_path), "--json")

    assert refused.returncode == 10
    assert json.loads(refused.stdout)["error"]["code"] == "artifact"


def test_the_same_plan_again_sends_nothing(done: Shell) -> None:
    [job] = done.json("jobs")

    again = done.run("submit", "job.yaml", "--wait")

    assert (again.returncode, again.stdout.strip()) == (0, job["id"])
    assert "nothing was sent" in again.stderr
    assert len(done.json("jobs")) == 1


def test_a_changed_plan_prints_the_difference_first(done: Shell, tmp_path: Path) -> None:
    text = (done.folder / "job.yaml").read_text().replace("epochs: 4", "epochs: 5")
    (done.folder / "changed.yaml").write_text(text)

    planned = done.run("plan", "changed.yaml")

    assert "changed since the last job: method.epochs: 4.0 -> 5.0" in planned.stderr


def test_the_job_is_found_by_name_by_id_and_by_prefix(done: Shell) -> None:
    [job] = done.json("jobs")

    found = {done.json("jobs", "show", word)["id"] for word in ("colours", job["id"], job["id"][:12])}

    assert found == {job["id"]}


def test_the_log_of_the_run_can_be_read(done: Shell) -> None:
    assert "step" in done.run("logs", "colours").stdout


def test_every_answer_fits_its_schema(done: Shell) -> None:
    for name in ("jobs", "adapters", "spend", "ledger", "providers"):
        schema = json.loads(done.run("schema", "output", name).stdout)

        jsonschema.validate(done.json(name), schema)


def test_the_whole_history_fits_its_schema_and_adds_up(done: Shell) -> None:
    history = done.json("jobs", "show", "colours")

    jsonschema.validate(history, json.loads(done.run("schema", "output", "history").stdout))
    [run] = history["runs"]
    assert sum(Decimal(charge["amount"]["amount"]) for charge in run["charges"]) == Decimal(history["spend"]["amount"])
    assert history["events"][0]["event"] == "submitted"


def test_the_spend_of_a_month_without_runs_is_nothing(done: Shell) -> None:
    report = done.json("spend", "--month", "2020-01")

    assert (report["total"]["amount"], report["rows"]) == ("0.00", [])


def test_two_shells_submitting_one_manifest_make_one_job(shell: Shell) -> None:
    both = [shell.start("submit", "job.yaml") for _ in range(2)]

    said = [process.communicate(timeout=120) for process in both]

    assert len({out.strip() for out, _ in said}) == 1, said
    assert len(shell.json("jobs")) == 1


def test_a_cancelled_job_stops_its_trainer_and_keeps_what_it_cost(shell: Shell) -> None:
    text = (shell.folder / "job.yaml").read_text().replace("epochs: 4", "epochs: 100").replace("budget", "# budget")
    (shell.folder / "job.yaml").write_text(text)
    job = shell.run("submit", "job.yaml").stdout.strip()
    until(lambda: shell.json("jobs", "show", job)["state"] == "running", within_s=120)

    shell.run("cancel", job)
    ended = shell.run("wait", job)

    assert ended.returncode == 8, ended.stderr
    assert shell.pids_of_trainers() == []
    assert Decimal(shell.json("spend")["total"]["amount"]) > 0


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(shell: Shell) -> None:
    waiting = shell.start("submit", "job.yaml", "--wait")
    until(lambda: (shell.home / "ftorch.db").exists() and shell.json("jobs"), within_s=60)

    waiting.send_signal(signal.SIGINT)
    _, words = waiting.communicate(timeout=60)

    assert waiting.returncode == 130
    assert "the job goes on; `ftorch wait" in words
    assert shell.run("wait", "colours").returncode == 0


def test_a_job_starts_from_the_adapter_of_another(done: Shell) -> None:
    pairs = [{"prompt": f"Which colour has thing number {n}?", "chosen": "red", "rejected": "blue"} for n in range(48)]
    write_rows(done.folder / "pairs.jsonl", pairs)
    text = (done.folder / "job.yaml").read_text().replace("type: sft", "type: dpo").replace("rows.jsonl", "pairs.jsonl")
    (done.folder / "dpo.yaml").write_text(
        text.replace("name: colours", "name: preferred\nfrom_adapter: colours@latest")
    )

    finished = done.run("submit", "dpo.yaml", "--wait")

    assert finished.returncode == 0, finished.stderr
    assert done.json("adapters", "verify", "preferred")["valid"]
