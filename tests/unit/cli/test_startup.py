"""What the quick commands load: nothing heavy. The times themselves are measured by `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ftorch.store import SqliteStore
from unit.jobs.rows import charge, job, run

HEAVY = ("pydantic", "httpx", "structlog", "rich", "torch", "msgspec", "yaml", "asyncio", "tenacity", "together")

_ASK = """
import sys
sys.argv = ["ftorch", *{words!r}]
from ftorch.cli.main import main
try:
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
"""


def loaded(home: Path, *words: str) -> list[str]:
    code = _ASK.format(words=list(words), heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"FTORCH_HOME": str(home)}, check=True, capture_output=True, text=True
    )
    return done.stdout.rpartition("LOADED")[2].split()


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["jobs"], ["jobs", "--json"], ["spend"], ["adapters"]])
def test_a_quick_command_loads_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    assert loaded(tmp_path, *words) == []


@pytest.mark.parametrize("words", [["jobs", "show", "job-1"], ["jobs", "show", "job-1", "--json"], ["ledger"]])
def test_reading_what_is_there_loads_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    store.write(lambda tx: tx.insert_job(job(), "{}"))
    store.write(lambda tx: tx.insert_run(run(state="running")))
    store.write(lambda tx: tx.add_entry(charge()))
    store.close()

    assert loaded(tmp_path, *words) == []


def test_the_version_does_not_even_load_click(tmp_path: Path) -> None:
    code = _ASK.format(words=["--version"], heavy=["click"])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"FTORCH_HOME": str(tmp_path)}, check=True, capture_output=True, text=True
    )

    assert "LOADED\n" in done.stdout


@pytest.mark.parametrize("words", [["providers"], ["doctor"]])
def test_asking_what_is_there_loads_no_sdk(tmp_path: Path, words: list[str]) -> None:
    assert {"together", "torch"} & set(loaded(tmp_path, *words)) == set()


def test_importing_ftorch_loads_nothing_heavy() -> None:
    code = f"import sys, ftorch; print(*[name for name in {HEAVY!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == []
