"""An engine at a desk: a cloud, a clock that is moved by hand, and what a test asks of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftorch.core.clock import ManualClock
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.plan import Plan
from ftorch.store import JobRow, RunRow
from unit.jobs.cloud import NAME, Cloud
from unit.plans import plan


class Later(Executor):
    """Threads that begin when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(partial(call, *args, **kwargs))

    def begin(self) -> None:
        waiting, self.calls = self.calls, []
        for call in waiting:
            call()


@dataclass
class Desk:
    """An engine, its cloud and its clock."""

    context: Context
    cloud: Cloud
    clock: ManualClock
    engine: Engine

    def submit(self, chosen: Plan | None = None, provider: str = NAME) -> str:
        chosen = chosen or plan(providers=(NAME,))
        dataset = self.context.home.datasets / "rows"
        dataset.mkdir(parents=True, exist_ok=True)
        (dataset / "train.jsonl").write_text("{}\n")
        now = self.clock.now()
        row = JobRow(
            id=self.context.ids.ulid(now),
            name=chosen.name,
            plan_hash=chosen.hash,
            manifest_path="m.yaml",
            dataset=str(dataset),
            base_model=chosen.base_model.id,
            method="sft",
            provider=provider,
            state="planned",
            desired="run",
            limit_micro=chosen.budget.limit.micro if chosen.budget else None,
            labels=json.dumps(dict(chosen.labels)),
            host="here",
            created_at=now,
            next_at=now,
        )
        self.context.store.write(lambda tx: tx.insert_job(row, chosen.to_json()))
        return row.id

    def settle(self) -> None:
        """Tick at this moment until nothing more happens."""
        for _ in range(30):
            self.engine.progressed.clear()
            self.engine.tick()
            self.wait()
            if not self.engine.progressed.is_set():
                return
        raise AssertionError("the engine does not come to rest")

    def wait(self) -> None:
        """Until no step is in a thread; what waits for a provider's pace waits for the clock."""
        idle = threading.Event()
        while self.engine.in_threads:
            idle.wait(0.001)

    def run_until(self, is_done: Callable[[], bool], *, seconds: int = 3600, step: float = 5.0) -> None:
        """Tick and move the clock until something holds."""
        for _ in range(int(seconds / step)):
            self.settle()
            if is_done():
                return
            self.clock.advance(step)
        told = [
            f"{event.at:%H:%M:%S} {event.event}"
            for job in self.context.store.jobs()
            for event in self.context.store.events_of(job.id)
        ]
        raise AssertionError(f"not within {seconds} s of the clock: {told}")

    def job(self, job_id: str) -> JobRow:
        found = self.context.store.job(job_id)
        assert found is not None
        return found

    def runs(self, job_id: str) -> list[RunRow]:
        return list(self.context.store.runs_of(job_id))

    def finish(self, job_id: str) -> JobRow:
        self.run_until(lambda: self.job(job_id).ended_at is not None)
        return self.job(job_id)

    def spent(self) -> int:
        return sum(entry.amount_micro for entry in self.context.store.ledger())
