"""kill -9 of ftorch after every request that it sends to Together, one after the other.

The daemon and the emulator go by one clock, twenty times as fast. Each job is trained once for real, on the tiny
model, and each life must end with those very bytes, one job there, and the price of the emulator's own bill.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from e2e.shell import ROOT, Shell, kill
from ftorch.emulators.clock import FastClock
from ftorch.emulators.server import Moment, Request
from ftorch.emulators.together import KEY, ORGANISATION, TogetherEmulator
from ftorch.emulators.together.bill import Line
from ftorch.emulators.together.models import TARIFF
from ftorch.emulators.training import Genuine
from ftorch.store import SqliteStore

HOOK = Path(__file__).parent / "hook"
SPEED = 20.0
_A_DAY_S = 25 * 3600
_THE_FIRST_TRAINS_S = 900.0
_LOAD_AND_GENERATE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
base, adapter = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
plain = AutoModelForCausalLM.from_pretrained(base)
words = tokenizer("Which colour", return_tensors="pt")
before = plain(**words).logits.detach().clone()
tuned = PeftModel.from_pretrained(plain, adapter)
assert not before.equal(tuned(**words).logits), "the adapter changes nothing"
print(len(tuned.generate(**words, max_new_tokens=8)[0]))
"""


@dataclass(frozen=True)
class Life:
    """What one life left: here, and there."""

    requests: int
    made: int
    state: str
    adapter: dict[str, bytes]
    spent: Decimal
    billed: Decimal


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where genuine trainings are kept: the same order trains once."""
    return tmp_path_factory.mktemp("trainings")


@contextmanager
def together(trainings: Path) -> Iterator[TogetherEmulator]:
    with TogetherEmulator(FastClock(SPEED), training=Genuine(trainings)) as emulator:
        yield emulator
    assert emulator.violations == []


@contextmanager
def person(folder: Path, emulator: TogetherEmulator) -> Iterator[Shell]:
    """The examples, an account, and clocks that go as fast as Together's."""
    shutil.copytree(ROOT / "jobs", folder / "jobs")
    env = {
        "HOME": str(folder),
        "TOGETHER_BASE_URL": emulator.url,
        "TOGETHER_API_KEY": KEY,
        "PYTHONPATH": str(HOOK),
        "FTORCH_FAST": fast(),
    }
    shell = Shell(folder, env)
    _has_run_there(shell)
    try:
        yield shell
    finally:
        shell.end_all()


def _has_run_there(shell: Shell) -> None:
    """The account has shown a run of ours before. Without that, a create that was killed on its way waits for a person,
    since a search that never found anything proves nothing."""
    shell.home.mkdir()
    store = SqliteStore.open(shell.home / "ftorch.db")
    store.write(lambda tx: tx.put_meta(f"mark/together/{ORGANISATION}", "ft-abc123-earlier"))
    store.close()


def fast(moved_s: float = 0.0) -> str:
    return f"{SPEED}|{time.clock_gettime(time.CLOCK_BOOTTIME)}|{moved_s}"


def life(folder: Path, trainings: Path, method: str, die_after: int | None = None, dearer: str = "1") -> Life:
    """A job from submit to settlement; the daemon is killed when Together has done its n-th request."""
    folder.mkdir(parents=True)
    with together(trainings) as emulator, person(folder, emulator) as shell:
        emulator.service.billing_tariff = TARIFF.changed(Decimal(dearer))

        def watch(moment: Moment, number: int, _request: Request) -> None:
            if moment is Moment.DONE and number == die_after and (pid := shell.pid_of_daemon()):
                kill(pid)

        emulator.watch = watch
        name = f"together-{method}"
        submitted = shell.run("submit", f"jobs/{name}.yaml", "--yes")
        assert submitted.returncode == 0, submitted.stderr
        done = shell.run("wait", name, longest_s=_THE_FIRST_TRAINS_S)
        requests = emulator.requests.total()
        emulator.clock.advance(_A_DAY_S)
        shell.run("daemon", "run", "--once", extra={"FTORCH_FAST": fast(_A_DAY_S)})
        [job] = shell.json("jobs")
        assert job["state"] != "succeeded" or done.returncode == 0, done.stderr
        return Life(
            requests=requests,
            made=emulator.service.creates.total(),
            state=job["state"],
            adapter=files(Path(job["adapter"])),
            # The ledger's own rows: `spend` leaves out what was recorded after now, and the daemon's clock is ahead.
            spent=sum((Decimal(entry["amount"]["amount"]) for entry in shell.json("ledger")), Decimal(0)),
            billed=sum((line.cost for line in lines_of(emulator, job["runs"][0]["remote_id"])), Decimal(0)),
        )


def lines_of(emulator: TogetherEmulator, job: str) -> list[Line]:
    start = emulator.clock.now() - timedelta(days=3)
    bill = emulator.service.bill(ORGANISATION, start, emulator.clock.now())
    return [line for line in bill if line.attributes.get("fine_tune_job_id") == job]


def files(folder: Path) -> dict[str, bytes]:
    """The adapter's own files; receipt and result name the job and its times."""
    beside = ("receipt.json", "result.json")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in beside}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_killed_after_any_request_the_job_is_paid_once_and_comes_home(
    tmp_path: Path, trainings: Path, method: str
) -> None:
    life(tmp_path / "first", trainings, method)  # trains; the later ones are not watched for as long as that takes
    calm = life(tmp_path / "calm", trainings, method)
    assert (calm.state, calm.made, calm.spent) == ("succeeded", 1, calm.billed)

    numbers = range(1, calm.requests + 1)
    lives = {number: life(tmp_path / str(number), trainings, method, number) for number in numbers}

    print(f"\n{method}: {calm.requests} requests, killed after each; {calm.billed} USD each time")
    assert {number: one.state for number, one in lives.items() if one.state != "succeeded"} == {}
    assert {number: one.made for number, one in lives.items() if one.made != 1} == {}
    assert [number for number, one in lives.items() if one.adapter != calm.adapter] == []
    assert {number: one.spent for number, one in lives.items() if one.spent != one.billed} == {}


@pytest.mark.timeout(900)
def test_the_adapter_loads_and_generates(tmp_path: Path, trainings: Path) -> None:
    calm = life(tmp_path / "calm", trainings, "sft")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name, content in calm.adapter.items():
        (adapter / name).write_bytes(content)
    base = next(trainings.rglob("model.safetensors")).parent

    words = [sys.executable, "-c", _LOAD_AND_GENERATE, str(base), str(adapter)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_a_bill_that_is_one_per_cent_dearer_is_seen(tmp_path: Path, trainings: Path) -> None:
    dearer = life(tmp_path / "dearer", trainings, "sft", dearer="1.01")

    assert dearer.billed == dearer.spent * Decimal("1.01")
