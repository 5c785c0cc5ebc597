"""acme, the sample service: runs, uploads and a bill in memory. It knows a clock and nothing of HTTP.

A run waits 5 s, works for 60 s and saves for 2 s; giving back what it holds takes 2 s. Its ending is known from the
start, and moved forward by whoever ends it early; everything else about it follows from the clock.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ftorch.core.clock import Clock, rfc3339
from ftorch.emulators.adapters import damaged, trained_files
from ftorch.emulators.server import RefusedError

QUEUE_S, WORK_S, SAVE_S, RELEASE_S = 5, 60, 2, 2
STEPS = 12
LOG_PAGE = 5
_HOUR = timedelta(hours=1)
_NANO = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class Machine:
    """A type of machine that runs may ask for."""

    name: str
    gpu: str
    usd_per_hour: Decimal


MACHINES = (Machine("acme-h100", "H100", Decimal("3.49")), Machine("acme-a100", "A100-80GB", Decimal("1.89")))


@dataclass(frozen=True, slots=True)
class Ending:
    """How and when a run ends."""

    at: datetime
    status: str
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the bill."""

    id: str
    kind: str
    start: datetime
    end: datetime
    usd: Decimal
    quantity: Decimal
    unit: str
    usd_per_unit: Decimal | None
    as_of: datetime
    description: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """Content that an account has sent."""

    sha256: str
    account: str
    created_at: datetime
    size: int


@dataclass(slots=True)
class Run:
    """One run. `order` is the body that made it."""

    number: int
    account: str
    tag: str
    machine: Machine
    order: Mapping[str, Any]
    created_at: datetime
    work_s: float
    trained_tokens: int
    ending: Ending
    released_at: datetime | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    last_view: Mapping[str, Any] | None = None
    """How it is told once it has ended: kept, for thousands of ended runs are listed again and again."""
    rows: Sequence[Row] | None = None
    """Its part of the bill once it has ended."""

    @property
    def id(self) -> str:
        return f"run-{self.number:08d}"

    @property
    def starts_at(self) -> datetime:
        return self.created_at + timedelta(seconds=QUEUE_S)

    def status(self, now: datetime) -> str:
        if now >= self.ending.at:
            return self.ending.status
        if now < self.starts_at:
            return "queued"
        return "running" if now < self.starts_at + timedelta(seconds=self.work_s) else "finalizing"

    def worked(self, now: datetime) -> timedelta:
        """How long it has had its machine."""
        return max(min(now, self.ending.at) - self.starts_at, timedelta(0))

    def step(self, now: datetime) -> int:
        return min(int(STEPS * self.worked(now).total_seconds() / self.work_s), STEPS)


class Service:
    """All that acme keeps. `keys` are API keys and the accounts that they open."""

    def __init__(self, clock: Clock, keys: Mapping[str, str]) -> None:
        self.clock = clock
        self.keys = keys
        self.listing_lag_s = 0.0
        """How long a new run is missing from lists and searches; asking for its id finds it at once."""
        self.reads_until_ready = 2
        self.creates: Counter[str] = Counter()
        """Runs made, by tag."""
        self.uploads: dict[str, Upload] = {}
        self.contents: dict[str, bytes] = {}
        self.received: Counter[str] = Counter()
        """How often each content was sent."""
        self._reads: Counter[str] = Counter()
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._billed: dict[str, list[Run]] = defaultdict(list)
        self._by_id: dict[tuple[str, str], Run] = {}
        self._by_tag: dict[tuple[str, str], list[Run]] = defaultdict(list)
        self._number = 0
        self._first_account = next(iter(keys.values()))
        self._foreign: list[Row] = []
        self._corrections: dict[str, tuple[Decimal, datetime]] = {}

    # uploads

    def declare(self, sha256: str) -> str:
        """The state of an upload. Looking often enough makes it ready."""
        if sha256 not in self.contents:
            return "missing"
        self._reads[sha256] += 1
        return "ready" if self._reads[sha256] > self.reads_until_ready else "validating"

    def receive(self, account: str, sha256: str, content: bytes) -> str:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RefusedError(422, "wrong_hash", f"the content does not have the SHA-256 {sha256}")
        self.received[sha256] += 1
        self.contents[sha256] = content
        self.uploads[sha256] = Upload(sha256, account, self.clock.now(), len(content))
        return "validating"

    def uploads_page(self, account: str, *, after: str | None, limit: int) -> tuple[Sequence[Upload], str | None]:
        """What an account has sent, by hash, and the hash to go on after."""
        ours = sorted((one for one in self.uploads.values() if one.account == account), key=lambda one: one.sha256)
        rest = [one for one in ours if after is None or one.sha256 > after]
        return rest[:limit], rest[limit - 1].sha256 if len(rest) > limit else None

    def drop(self, account: str, sha256: str) -> None:
        """Delete content; nothing is said of what is not there."""
        if (upload := self.uploads.get(sha256)) and upload.account == account:
            del self.uploads[sha256], self.contents[sha256], self._reads[sha256]

    # runs

    def create(self, account: str, order: Mapping[str, Any]) -> Run:
        """Make a run. Not idempotent: the same tag again makes a second one."""
        machine = next((one for one in MACHINES if one.name == order["machine"]), None)
        if machine is None:
            raise RefusedError(422, "unknown_machine", f"acme has no machine {order['machine']!r}")
        waiting = [sha256 for sha256 in order["uploads"].values() if self._reads[sha256] <= self.reads_until_ready]
        if waiting:
            raise RefusedError(422, "not_ready", f"upload {waiting[0]} is not ready")
        self._number += 1
        run = self._new_run(account, order, machine)
        self._runs[account].append(run)
        self._billed[account].append(run)
        self._by_id[account, run.id] = run
        self._by_tag[account, run.tag].append(run)
        self.creates[run.tag] += 1
        return run

    def page(self, account: str, *, after: str | None, limit: int, tag: str | None) -> tuple[Sequence[Run], str | None]:
        """Runs, oldest first, and the id to go on after."""
        runs = self._runs[account] if tag is None else self._by_tag[account, tag]
        first = bisect_right(runs, int(after.partition("-")[2]), key=lambda run: run.number) if after else 0
        limit = min(limit, 100)
        found = [run for run in runs[first : first + limit] if self._is_listed(run)]
        more = len(runs) > first + limit
        return found, runs[first + limit - 1].id if more else None

    def run(self, account: str, run_id: str) -> Run:
        run = self._by_id.get((account, run_id))
        if run is None:
            raise RefusedError(404, "not_found", f"no run {run_id}")
        return run

    def newest(self, tag: str) -> Run:
        """The newest run under a tag, whoever's. For tests."""
        return next(runs[-1] for (_, its_tag), runs in self._by_tag.items() if its_tag == tag and runs)

    def end(self, run: Run, status: str, *, exit_code: int | None = None, message: str = "") -> None:
        """End a run now: cancelled, preempted or failed. One that has ended stays as it is."""
        now = self.clock.now()
        if now < run.ending.at:
            run.ending = Ending(now, status, exit_code, message)

    def release(self, run: Run) -> None:
        """Stop the run and drop its artifact, which takes a moment. Its record stays."""
        self.end(run, "cancelled", message="deleted")
        run.released_at = run.released_at or self.clock.now() + timedelta(seconds=RELEASE_S)
        run.last_view = None

    def forget(self, run: Run) -> None:
        """Lose every trace of a run, except on the bill."""
        self._runs[run.account].remove(run)
        self._by_tag[run.account, run.tag].remove(run)
        del self._by_id[run.account, run.id]

    def log(self, run: Run) -> list[str]:
        """All that the run has written by now."""
        now = self.clock.now()
        if now < run.starts_at or run.ending.at < run.starts_at:
            return []
        steps = range(1, run.step(now) + 1)
        lines = [f"started on {run.machine.name}", *(f"step {step}/{STEPS} loss {2 / step:.4f}" for step in steps)]
        return [*lines, f"ended: {run.ending.status}"] if now >= run.ending.at else lines

    def artifact(self, run: Run, name: str) -> bytes:
        if run.status(self.clock.now()) != "succeeded" or run.released_at or name not in run.files:
            raise RefusedError(404, "not_found", f"run {run.id} has no file {name}")
        return run.files[name]

    def damage(self, run: Run) -> None:
        run.files = damaged(run.files)

    def run_view(self, run: Run) -> Mapping[str, Any]:
        """A run as acme tells it."""
        if run.last_view is not None:
            return run.last_view
        now = self.clock.now()
        view = self._view(run, now)
        if now >= max(run.ending.at, run.released_at or now):
            run.last_view = view
        return view

    def _view(self, run: Run, now: datetime) -> Mapping[str, Any]:
        is_over, has_started = now >= run.ending.at, min(now, run.ending.at) >= run.starts_at
        rows = self._rows(run, now)
        return {
            "id": run.id,
            "tag": run.tag,
            "status": run.status(now),
            "machine": run.machine.name,
            "usd_per_hour": str(run.machine.usd_per_hour),
            "created_at": rfc3339(run.created_at),
            "started_at": rfc3339(run.starts_at) if has_started else None,
            "ended_at": rfc3339(run.ending.at) if is_over else None,
            "released_at": rfc3339(run.released_at) if run.released_at and now >= run.released_at else None,
            "exit_code": run.ending.exit_code if is_over else None,
            "message": run.ending.message if is_over else "",
            "step": run.step(now),
            "total_steps": STEPS,
            "trained_tokens": run.trained_tokens if is_over and run.ending.status == "succeeded" else None,
            "price_usd": str(sum((row.usd for row in rows), Decimal(0))),
            "priced_at": rfc3339(rows[-1].as_of if rows else run.created_at),
        }

    # the bill

    def bill(self, account: str, start: datetime, end: datetime) -> list[Row]:
        """All rows that start in `[start, end)`, by time."""
        now = self.clock.now()
        rows = [row for run in self._billed[account] for row in self._rows(run, now)]
        if account == self._first_account:
            rows += self._foreign
        found = [self._corrected(row) for row in rows if start <= row.start < end]
        return sorted(found, key=lambda row: (row.start, row.id))

    def correct(self, row_id: str, usd: Decimal) -> None:
        """Change a row of the bill after the fact."""
        self._corrections[row_id] = (usd, self.clock.now())

    def add_strangers(self) -> None:
        """What else is in the first account: a colleague's runs, another installation's, inference, and a credit."""
        now = self.clock.now()
        for tag in ("nightly-7b", "ft-zzzzzz-01m853egkdvypddzfanrkc5c05"):
            self.create(self._first_account, {"tag": tag, "machine": "acme-h100", "uploads": {}, "spec": None})
        inference = Row(
            id="inference/1",
            kind="inference",
            start=now,
            end=now + _HOUR,
            usd=Decimal("0.004217500"),
            quantity=Decimal(8435),
            unit="token",
            usd_per_unit=Decimal("0.0000005"),
            as_of=now,
            description="inference, small model",
        )
        credit = replace(
            inference,
            id="credit/1",
            kind="credit",
            usd=Decimal("-5"),
            quantity=Decimal(1),
            unit="grant",
            usd_per_unit=None,
        )
        self._foreign += [inference, replace(credit, description="welcome credit")]

    def _new_run(self, account: str, order: Mapping[str, Any], machine: Machine) -> Run:
        now = self.clock.now()
        spec = order["spec"] or {"base_model": "someone/else", "method": {"epochs": 1, "lora": {"rank": 4, "alpha": 8}}}
        work_s = self._work_left(account, order.get("resume_from"))
        tokens = self._tokens(order["uploads"], spec["method"]["epochs"])
        lora = spec["method"]["lora"]
        return Run(
            number=self._number,
            account=account,
            tag=order["tag"],
            machine=machine,
            order=order,
            created_at=now,
            work_s=work_s,
            trained_tokens=tokens,
            ending=_natural_ending(now, work_s, order.get("max_duration_s")),
            files=trained_files(spec["base_model"], lora["rank"], lora["alpha"], tokens),
        )

    def _work_left(self, account: str, resume_from: str | None) -> float:
        """A run that goes on from another has that much less to do, and at least a step."""
        if resume_from is None:
            return WORK_S
        earlier = self.run(account, resume_from)
        return max(WORK_S - earlier.worked(self.clock.now()).total_seconds(), WORK_S / STEPS)

    def _tokens(self, uploads: Mapping[str, str], epochs: float) -> int:
        size = sum(len(self.contents[sha256]) for name, sha256 in uploads.items() if name.endswith("train.jsonl"))
        return int(size / 4 * epochs)

    def _is_listed(self, run: Run) -> bool:
        return self.clock.now() >= run.created_at + timedelta(seconds=self.listing_lag_s)

    def _rows(self, run: Run, now: datetime) -> Sequence[Row]:
        if run.rows is not None:
            return run.rows
        rows = list(_rows_until(run, min(now, run.ending.at)))
        if now >= run.ending.at:
            run.rows = rows
        return rows

    def _corrected(self, row: Row) -> Row:
        if row.id not in self._corrections:
            return row
        usd, as_of = self._corrections[row.id]
        return replace(row, usd=usd, as_of=as_of)


def _natural_ending(now: datetime, work_s: float, max_duration_s: int | None) -> Ending:
    """How a run ends that nobody disturbs."""
    if max_duration_s is not None and max_duration_s < work_s + SAVE_S:
        at = now + timedelta(seconds=QUEUE_S + max_duration_s)
        return Ending(at, "timed_out", 75, f"stopped after {max_duration_s} s, as ordered")
    return Ending(now + timedelta(seconds=QUEUE_S + work_s + SAVE_S), "succeeded", 0)


def _rows_until(run: Run, end: datetime) -> Iterator[Row]:
    """One row for each clock hour in which the run had its machine."""
    start = run.starts_at
    while start < end:
        hour = start.replace(minute=0, second=0, microsecond=0)
        stop = min(hour + _HOUR, end)
        yield _usage(run, start, stop, hour)
        start = stop


def _usage(run: Run, start: datetime, stop: datetime, hour: datetime) -> Row:
    seconds = Decimal((stop - start) // timedelta(microseconds=1)) / 1_000_000
    per_second = run.machine.usd_per_hour / 3600
    return Row(
        id=f"{run.id}/{hour:%Y%m%dT%H}",
        kind="usage",
        start=start,
        end=stop,
        usd=(per_second * seconds).quantize(_NANO, rounding=ROUND_HALF_EVEN),
        quantity=seconds,
        unit="second",
        usd_per_unit=per_second,
        as_of=stop,
        description=f"{run.machine.name} for {run.tag}",
        tag=run.tag,
    )
