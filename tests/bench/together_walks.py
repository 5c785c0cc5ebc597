"""Together's figures: a walk over a thousand live jobs, and an archive fetched against curl on the same link."""

from __future__ import annotations

import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.lines import Line
from contract.together_bench import TogetherBench
from ftorch.core.clock import ManualClock, SystemClock
from ftorch.emulators.server import Fault
from ftorch.emulators.together import KEY, TogetherEmulator
from ftorch.providers.base import RunRef, RunState
from ftorch.providers.http import Http
from ftorch.providers.together import api

_JOBS = 1000
_TICKS = 5
_ARCHIVE = 200_000_000
_REPEATS = 5
_DOWNLOAD = "GET /v1/finetune/download"


def measure() -> list[Line]:
    """All lines; about a minute."""
    with tempfile.TemporaryDirectory() as folder:
        return [*walks(Path(folder) / "walks"), *fetches(Path(folder) / "fetches")]


def walks(folder: Path) -> list[Line]:
    """A thousand live jobs, observed tick after tick."""
    folder.mkdir()
    clock = ManualClock()
    with TogetherEmulator(clock) as emulator:
        bench = TogetherBench(emulator, clock, folder)
        order = bench.order()
        refs = [bench.submit(bench.order(staged=order.staged)) for _ in range(_JOBS)]
        bench.provider.observe(refs)
        before, began_s = bench.traffic(), time.process_time()
        for _ in range(_TICKS):
            seen = bench.provider.observe(refs)
            assert len(seen) == _JOBS
            assert {one.state for one in seen.values()} <= {RunState.QUEUED, RunState.RUNNING}
        took_s, after = (time.process_time() - began_s) / _TICKS, bench.traffic()
        bench.close()
    lists = (after.lists - before.lists) / _TICKS
    return [
        Line(
            "Together: lists a tick, 1,000 live jobs", lists, 1, "", f"{took_s * 1000:.0f} ms of CPU, emulator included"
        ),
        Line("Together: calls for single jobs", after.singles - before.singles, 0, "", "in steady state"),
    ]


def fetches(folder: Path) -> list[Line]:
    """The archive of a job, without unpacking: ours against curl, interleaved; then once more with a cut."""
    folder.mkdir()
    clock = ManualClock()
    with TogetherEmulator(clock) as emulator:
        bench = TogetherBench(emulator, clock, folder)
        ref = bench.finished()
        emulator.service.replace_archive(emulator.service.newest(ref.key), secrets.token_bytes(_ARCHIVE))
        http = Http("together", emulator.url, clock=SystemClock(), key=KEY)
        curl, ours = [], []
        for _ in range(_REPEATS):
            curl.append(_seconds(lambda: _by_curl(emulator, ref, folder / "curl")))
            ours.append(_seconds(lambda: _by_us(http, ref, folder / "ours")))
        sent = emulator.bytes_sent[_DOWNLOAD]
        emulator.script(_DOWNLOAD, Fault.CUT)
        _by_us(http, ref, folder / "cut")
        twice = emulator.bytes_sent[_DOWNLOAD] - sent - _ARCHIVE
        http.close()
        bench.close()
    ratio = statistics.median(ours) / statistics.median(curl)
    rate = _ARCHIVE / statistics.median(ours) / 1e6
    return [
        Line("Together: our fetch / curl, time", ratio, 1.25, "x", f"200 MB, {rate:.0f} MB/s, flushed to disk"),
        Line("Together: bytes fetched twice after a cut", twice, 0, "", "cut in the middle of 200 MB"),
    ]


def _seconds(work: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _by_us(http: Http, ref: RunRef, file: Path) -> None:
    file.unlink(missing_ok=True)
    api.download(http, ref.remote_id or "", file)
    assert file.stat().st_size == _ARCHIVE


def _by_curl(emulator: TogetherEmulator, ref: RunRef, file: Path) -> None:
    url = f"{emulator.url}/v1/finetune/download?ft_id={ref.remote_id}&checkpoint=adapter"
    words = ["curl", "-sS", "-o", str(file), "-H", f"Authorization: Bearer {KEY}", url]
    subprocess.run(words, check=True)
    assert file.stat().st_size == _ARCHIVE
