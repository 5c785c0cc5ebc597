"""The engine's figures: one daemon process, its real loop, SQLite, and a provider of many runs over HTTP.

Memory, calls and a restart after kill -9 with 10,000 open jobs; CPU of many jobs from submit to settlement against that
of half as many; commits per transition (a compare-and-set of a row); the store against bare sqlite3 on the same disk;
the list of 10,000 jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import fleet
from bench.lines import Line, cpu_s
from ftorch.core.ids import Ids
from ftorch.jobs.states import RUN
from ftorch.store import EventRow, JobRow, SqliteStore, Transaction, sql
from unit.jobs.test_receipt import floats, safetensors
from unit.plans import plan

HERE = Path(__file__).parent
MANY = 10_000
FEW = 10_000
_PAGES = MANY // 100
_GROUPS = 40
_GROUP = 250


def measure() -> list[Line]:
    """All lines; about twelve minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [*open_jobs(root / "open"), *whole_lives(root), group_commit(root), listing(root / "list")]


@dataclass
class Fleet:
    """The provider's process."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            read: dict[str, Any] = json.loads(answer.read())
            return read


@contextlib.contextmanager
def fleet_of(folder: Path, shortest_s: float, longest_s: float) -> Iterator[Fleet]:
    folder.mkdir(parents=True)
    adapter = folder / "adapter"
    adapter.write_bytes(
        safetensors({"m.q.lora_A.weight": ([4, 4], floats(16)), "m.q.lora_B.weight": ([4, 4], floats(16))})
    )
    words = [sys.executable, str(HERE / "fleet_server.py"), str(adapter), str(shortest_s), str(longest_s)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Fleet(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


def furnish(home: Path, jobs: int) -> None:
    """A state folder with so many submitted jobs."""
    home.mkdir(parents=True)
    dataset = home / "datasets" / "rows"
    dataset.mkdir(parents=True)
    (dataset / "train.jsonl").write_text("{}\n")
    chosen = plan(providers=(fleet.NAME,))
    text, ids, now = chosen.to_json(), Ids(), datetime.now(UTC)
    store = SqliteStore.open(home / "ftorch.db")

    def insert(tx: Transaction) -> None:
        for number in range(jobs):
            tx.insert_job(_job(ids.ulid(now), number, str(dataset), chosen.hash, now), text)
        tx.put_meta(f"mark/{fleet.NAME}/acct", "ft-abc123-earlier")

    store.write(insert)
    store.close()


def daemon(home: Path, fleet_: Fleet) -> subprocess.Popen[str]:
    words = [sys.executable, str(HERE / "fleet.py"), str(home), str(fleet_.port)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent)])}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


def open_jobs(folder: Path) -> list[Line]:
    """Ten thousand jobs, all running: memory, calls of a walk, and a restart after kill -9."""
    furnish(folder / "home", MANY)
    with fleet_of(folder / "fleet", 3600, 3600) as served:
        process = daemon(folder / "home", served)
        _until(lambda: served.ask("counters").get("create", 0) >= MANY, within_s=300)
        time.sleep(4 * fleet.POLL_S)
        before = _between_walks(served)
        time.sleep(6 * fleet.POLL_S)
        after = _between_walks(served)
        peak_mb = _peak_mb(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        served.ask("mark", "POST")
        started = time.time()
        again = daemon(folder / "home", served)
        _until(lambda: served.ask("counters")["first_after_mark"], within_s=30)
        first_s = served.ask("counters")["first_after_mark"] - started
        again.kill()
        again.wait()
    lists, walks = after["list"] - before["list"], after["walk"] - before["walk"]
    return [
        Line("memory of the daemon, 10,000 open jobs", peak_mb, 100, " MB", "peak resident set, from submit on"),
        Line("list calls a walk, 10,000 runs in pages of 100", lists / walks, _PAGES + 1, "", f"{walks} walks"),
        Line("calls for single runs", after.get("get", 0), 0, "", "in steady state"),
        Line("restart to first call after kill -9", first_s, 1, " s", "10,000 open jobs, start of Python included"),
    ]


def _between_walks(served: Fleet) -> dict[str, Any]:
    """The counters at a moment at which no walk is under way."""
    while True:
        one = served.ask("counters")
        time.sleep(1.0)
        if one["list"] == (two := served.ask("counters"))["list"]:
            return two


def whole_lives(folder: Path) -> list[Line]:
    """From submit to settlement: CPU against half as many jobs, commits, and how soon an end is known."""
    few, many = (_lives(folder / str(jobs), jobs) for jobs in (FEW, 2 * FEW))
    return [
        Line(f"CPU of {2 * FEW:,} jobs / of {FEW:,}", many.cpu_s / few.cpu_s, 2.2, "x", f"{many.cpu_s:.0f} s"),
        Line("commits per transition", many.commits / many.changes, 0.15, "", f"{many.changes:,} compare-and-sets"),
        Line("end to recorded, p95, in shortest walks", many.late_s / fleet.POLL_S, 2, "", f"{many.late_s:.1f} s"),
    ]


@dataclass
class Lives:
    """What so many jobs took."""

    cpu_s: float
    commits: int
    changes: int
    late_s: float


def _lives(folder: Path, jobs: int) -> Lives:
    furnish(folder / "home", jobs)
    with fleet_of(folder / "fleet", 20, 40) as served:
        process = daemon(folder / "home", served)
        said, _ = process.communicate(timeout=1200)
    store = SqliteStore.open(folder / "home" / "ftorch.db")
    reader = store.read()
    done = reader.scalar("SELECT COUNT(*) FROM jobs WHERE state = 'succeeded'")
    assert done == jobs, f"{done} of {jobs} jobs succeeded"
    changes = sum(reader.scalar(f"SELECT SUM(version) FROM {table}") for table in ("jobs", "runs"))
    late = reader.counts(
        "SELECT e.at - r.billable_to FROM events e JOIN runs r ON e.run_key = r.key WHERE e.event = 'succeeded'"
    )
    store.close()
    told = json.loads(said)
    late_s = sorted(micros / 1e6 for (micros,) in late)
    return Lives(told["cpu_s"], told["commits"], changes, late_s[int(len(late_s) * 0.95)])


def group_commit(folder: Path) -> Line:
    """A compare-and-set and an event each, in groups, flushed: the store against bare sqlite3, interleaved."""
    ours, bare = _Ours(folder / "ours.db"), _Bare(folder / "bare.db")
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(3):
        for name, one in (("bare", bare), ("ours", ours)):
            began_s = time.perf_counter()
            one.write_groups()
            rates[name].append(_GROUPS * _GROUP / (time.perf_counter() - began_s))
    ours_rate, bare_rate = statistics.median(rates["ours"]), statistics.median(rates["bare"])
    note = f"{ours_rate:,.0f} against {bare_rate:,.0f} changes/s in groups of {_GROUP}"
    return Line("bare sqlite3 / the store's group commit", bare_rate / ours_rate, 4, "x", note)


class _Bare:
    """sqlite3 and nothing else: the same tables, the same statements, the same flushes."""

    def __init__(self, path: Path) -> None:
        _Ours(path)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._update = sql.update("jobs", "id", ("state",))
        self._version = 1

    def write_groups(self) -> None:
        for _ in range(_GROUPS):
            self._connection.execute("BEGIN IMMEDIATE")
            for number in range(_GROUP):
                job = f"j{number}"
                changed = {"state": "running", "_key": job, "_version": self._version}
                assert self._connection.execute(self._update, changed).rowcount == 1
                event = {"job_id": job, "run_key": None, "at": 1, "event": "running", "detail": ""}
                self._connection.execute(sql.INSERT_EVENT, event)
            self._connection.execute("COMMIT")
            self._version += 1


class _Ours:
    """The store, given what a walk found: one call for a group, as the engine writes its news."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore.open(path)
        now = datetime.now(UTC)
        self._jobs = [_job(f"j{number}", number, "d", "h", now) for number in range(_GROUP)]
        self._store.write(self._insert)
        event = EventRow(seq=0, job_id="", run_key=None, at=now, event="running", detail="")
        self._events = [replace(event, job_id=job.id) for job in self._jobs]

    def write_groups(self) -> None:
        for _ in range(_GROUPS):
            self._store.write(self._change)
            self._jobs = [replace(job, version=job.version + 1) for job in self._jobs]

    def _insert(self, tx: Transaction) -> None:
        for job in self._jobs:
            tx.insert_job(job, "{}")

    def _change(self, tx: Transaction) -> None:
        for job, event in zip(self._jobs, self._events, strict=True):
            assert tx.update_job(job, state="running")
            tx.add_event(event)


def listing(home: Path) -> Line:
    """`ftorch jobs` with ten thousand rows."""
    furnish(home, MANY)
    env = {**os.environ, "FTORCH_HOME": str(home)}
    ftorch = str(Path(sys.executable).with_name("ftorch"))
    nothing, listed = [], []
    for _ in range(9):
        nothing.append(cpu_s([sys.executable, "-c", "pass"], env))
        listed.append(cpu_s([ftorch, "jobs"], env))
    ratio = statistics.median(listed) / statistics.median(nothing)
    return Line("`ftorch jobs` with 10,000 rows / `python -c pass`", ratio, 20, "x", "CPU, to a pipe")


def _job(job_id: str, number: int, dataset: str, plan_hash: str, now: datetime) -> JobRow:
    return JobRow(
        id=job_id,
        name=f"support-{number}",
        plan_hash=plan_hash,
        manifest_path="support.yaml",
        dataset=dataset,
        base_model="builtin:tiny",
        method="sft",
        provider=fleet.NAME,
        state="planned",
        desired=RUN,
        limit_micro=None,
        labels="{}",
        host="here",
        created_at=now,
        next_at=now,
    )


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024 / 1e6


def _until(say: Any, *, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while not say():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.2)
