"""A million ledger entries: how long a report takes, and how much memory.

Twenty thousand jobs of fifty hourly lines each, in the order in which providers bill them: by hour, not by job. Times
are CPU seconds of the whole command, memory is its largest resident set.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from bench.lines import Line
from ftorch.core.clock import to_micros
from ftorch.store import JobRow, LedgerRow, RunRow, SqliteStore, Transaction, sql
from ftorch.store.rows import columns

JOBS, LINES = 20_000, 50
_START = datetime(2026, 1, 1, tzinfo=UTC)
_HOUR = to_micros(_START + timedelta(hours=1)) - to_micros(_START)
_PROVIDERS = ("together", "modal", "lambda", "anyscale")
_WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
_REPORTS: Sequence[Sequence[str]] = (
    ("--by", "name"),
    ("--by", "month", "--timezone", "America/New_York"),
    ("--by", "team", "--month", "2026-03"),
    ("--by", "state", "--as-of", "2026-10-01"),
)


def measure() -> list[Line]:
    """A line for each report, and one for the memory of the hungriest."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home)
        env = {**os.environ, "FTORCH_HOME": str(home)}
        taken = {" ".join(words): _report(words, env) for words in _REPORTS}
    lines = [
        Line(f"`ftorch spend {words}`, 1,000,000 entries", cpu_s, 2, " s", "CPU") for words, (cpu_s, _) in taken.items()
    ]
    peak_mb = max(mb for _, mb in taken.values())
    return [*lines, Line("memory of `ftorch spend`, 1,000,000 entries", peak_mb, 300, " MB", "peak resident set")]


def fill(home: Path) -> None:
    """Jobs and runs by the store, entries straight into its file: they are a year's, and not to be waited for."""
    store = SqliteStore.open(home / "ftorch.db")
    store.write(_jobs)
    store.close()
    with sqlite3.connect(home / "ftorch.db") as connection:
        connection.executemany(sql.INSERT_LEDGER, _entries(Random(1)))
    connection.close()


def _jobs(tx: Transaction) -> None:
    for number in range(JOBS):
        at = _START + timedelta(minutes=20 * number)
        ended = at + timedelta(hours=LINES)
        job = JobRow(
            id=_job(number),
            name=f"job-{number % 400}",
            plan_hash="hash",
            manifest_path="m.yaml",
            dataset="d",
            base_model=f"model-{number % 7}",
            method="sft",
            provider=_PROVIDERS[number % 4],
            state="succeeded",
            desired="run",
            limit_micro=None,
            labels=f'{{"team": "team-{number % 23}"}}',
            host="here",
            estimate_micro=25_000_000,
            created_at=at,
            ended_at=ended,
            next_at=at,
        )
        run = RunRow(
            key=_run(number),
            job_id=job.id,
            number=1,
            purpose="train",
            provider=job.provider,
            account="acct",
            placement="{}",
            rate=None,
            max_duration_s=None,
            resume_from=None,
            hold_micro=0,
            state="failed" if number % 10 == 0 else "succeeded",
            created_at=at,
            ended_at=ended,
            settled_at=ended,
            next_at=at,
        )
        tx.insert_job(job, "{}")
        tx.insert_run(run)


def _entries(chance: Random) -> Iterator[dict[str, object]]:
    names = [name for name in columns(LedgerRow) if name != "id"]
    order = [(line * 3 + number, number, line) for number in range(JOBS) for line in range(LINES)]
    for _, number, line in sorted(order):
        at = to_micros(_START) + number * _HOUR // 3 + line * _HOUR
        micro = chance.randrange(1_000_000)
        values: dict[str, object] = {
            "provider": _PROVIDERS[number % 4],
            "account": "acct",
            "source": "billing_api",
            "source_ref": f"{_run(number)}/{line}",
            "revision": 1,
            "run_key": _run(number),
            "job_id": _job(number),
            "kind": "credit" if line == 0 else "billed",
            "amount_micro": micro,
            "quantity": "3600",
            "unit": "second",
            "unit_price": "0.000138888888888888",
            "description": f"machine time for {_run(number)}",
            "period_start": at,
            "period_end": at + _HOUR,
            "as_of": at + _HOUR,
            "recorded_at": at + 2 * _HOUR,
            "place": "run",
            "list_micro": micro,
            "counted_at": at,
            "corrects": None,
            "labels": None,
            "scope": "run",
        }
        yield {name: values[name] for name in names}


def _job(number: int) -> str:
    return f"01m853egkdvypddzf{number:09}"


def _run(number: int) -> str:
    return f"ft-abc123-{_job(number)}"


def _report(words: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and megabytes of one command: measured by a process of its own, whose only child it is."""
    ftorch = str(Path(sys.executable).with_name("ftorch"))
    told = subprocess.run(
        [sys.executable, "-c", _WATCH, ftorch, "spend", *words], env=env, check=True, capture_output=True, text=True
    )
    cpu_s, peak_kb = told.stdout.split()
    return float(cpu_s), int(peak_kb) * 1024 / 1e6
