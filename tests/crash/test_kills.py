"""kill -9 at seeded moments of the command line, the daemon and the trainer: the job ends once, with the same bytes.

The moments are in moments.py; how a process is killed exactly there, in hook/sitecustomize.py. FTORCH_KILLS and
FTORCH_KILL_SEED change how many there are and which.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crash.moments import Moment, moments
from e2e.shell import Shell, furnish

HOOK = Path(__file__).parent / "hook"
SEED = int(os.environ.get("FTORCH_KILL_SEED", "20261123"))
KILLS = moments(int(os.environ.get("FTORCH_KILLS", "40")), SEED)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The same job with nobody killed."""
    shell = furnish(tmp_path_factory.mktemp("undisturbed"))
    done = shell.run("submit", "job.yaml", "--wait")
    assert done.returncode == 0, done.stderr
    return shell


@pytest.fixture
def shell(tmp_path: Path, undisturbed: Shell) -> Iterator[Shell]:
    """A fresh folder with the base model prepared already."""
    made = furnish(tmp_path)
    shutil.copytree(undisturbed.home / "bases", made.home / "bases")
    yield made
    made.end_all()


@pytest.mark.parametrize("moment", KILLS, ids=[f"{number:02}-{one.name}" for number, one in enumerate(KILLS)])
def test_the_job_ends_once_with_the_bytes_of_an_undisturbed_run(
    moment: Moment, shell: Shell, undisturbed: Shell
) -> None:
    mark = shell.folder / "killed"
    crash = {"PYTHONPATH": str(HOOK), "FTORCH_CRASH": moment.order, "FTORCH_CRASH_MARK": str(mark)}

    first = shell.run("submit", "job.yaml", "--wait", extra=crash)
    if first.returncode != 0:
        shell.run("submit", "job.yaml", extra=crash)
    done = shell.run("wait", "colours")

    assert done.returncode == 0, done.stderr
    assert mark.exists(), f"nothing was killed: {moment}"
    [job] = shell.json("jobs")
    assert adapter_of(shell) == adapter_of(undisturbed)
    assert shell.json("adapters", "verify", job["id"])["valid"]
    check_paid_time(shell)


def adapter_of(shell: Shell) -> dict[str, bytes]:
    """Every file of the adapter but the receipt and the result, which name the job and its times."""
    [job] = shell.json("jobs")
    folder = Path(job["adapter"])
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("receipt.json", "result.json")
    }


def check_paid_time(shell: Shell) -> None:
    """Every run that started is in the ledger with its whole time, once; the killed ones too."""
    entries = shell.json("ledger")
    started = {path.parent.parent.name: attempts(path) for path in shell.home.glob("runs/*/out/events.jsonl")}
    [job] = shell.json("jobs")

    assert {entry["run"] for entry in entries} == set(started)
    assert {run["key"] for run in job["runs"]} >= set(started)
    assert Decimal(shell.json("spend")["total"]["amount"]) == sum(Decimal(one["amount"]["amount"]) for one in entries)
    for entry in entries:
        assert Decimal(entry["quantity"]) >= 0


def attempts(events: Path) -> int:
    return sum(json.loads(line)["event"] == "started" for line in events.read_text().splitlines())
