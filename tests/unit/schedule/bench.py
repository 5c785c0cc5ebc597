"""An installation with a schedule in it, a clock that is moved by hand, and adapters whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from crash.world import Inline
from ftorch.core.clock import ManualClock
from ftorch.core.files import sha256_file
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.data.records import Completion, Message, to_line
from ftorch.jobs.answers import _identity, _spec
from ftorch.jobs.context import Context
from ftorch.jobs.rights import Alone
from ftorch.jobs.versions import number
from ftorch.manifest.plan import Plan
from ftorch.schedule.retrain import Retrain
from ftorch.schedule.scheduler import Scheduler
from ftorch.schedule.verbs import add
from ftorch.store import JobRow, SqliteStore, schedule_sql
from ftorch.store.schedule_rows import NoticeRow, OccurrenceRow, VersionRow
from unit.jobs import rows
from unit.jobs.cloud import Cloud, CloudProvider
from unit.jobs.test_receipt import adapter
from unit.plans import facts, plan

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
_HOUR_S = 3600.0

MANIFEST = """\
version: 1
name: support
base_model: builtin:tiny
method: {type: sft, lora: {rank: 2}, epochs: 1, batch_size: 8, max_length: 64}
dataset: {path: rows.jsonl, held_out: {fraction: 0.3}}
provider: {name: local}
schedule: {cron: "0 * * * *"}
"""


@dataclass
class Bench:
    """What a daemon has, without a daemon."""

    folder: Path
    context: Context
    clock: ManualClock
    scheduler: Scheduler

    @property
    def manifest(self) -> Path:
        return self.folder / "job.yaml"

    def write(self, *answers: str, first: int = 0) -> None:
        """The dataset: one row for each answer."""
        lines = [json.dumps({"prompt": f"Is thing {first + n} fine?", "completion": a}) for n, a in enumerate(answers)]
        (self.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")

    def add(self, **changes: Any) -> None:
        add(self.context, self.manifest, changes)

    def pass_hour(self) -> OccurrenceRow:
        """Let one time come, and look after it until nothing more happens."""
        self.clock.advance(_HOUR_S)
        self.look()
        return self.occurrences()[0]

    def look(self) -> None:
        for _ in range(4):
            self.scheduler.tick()

    def occurrences(self) -> Sequence[OccurrenceRow]:
        """The newest first."""
        [schedule] = self.context.store.counts("SELECT id FROM schedules WHERE state <> 'removed'")
        statement = schedule_sql.OCCURRENCES_OF
        return self.context.store.read().many(OccurrenceRow, statement, schedule_id=schedule[0], most=99)

    def jobs(self) -> Sequence[JobRow]:
        return self.context.store.jobs()

    def notices(self) -> Sequence[NoticeRow]:
        """The newest first."""
        return self.context.store.read().many(NoticeRow, schedule_sql.NOTICES, most=99)

    def job_ends(self, state: str = "failed", *, spent_micro: int = 0) -> None:
        """The open job is over, and has cost something."""
        job = self.jobs()[0]
        now = self.clock.now()
        changes = {"state": state, "ended_at": now, "hold_micro": 0}
        self.context.store.write(lambda tx: tx.update_job(job, **changes))
        if spent_micro:
            entry = rows.charge(job_id=job.id, source_ref=job.id, amount_micro=spent_micro, period_end=now)
            self.context.store.write(lambda tx: tx.add_entry(entry))

    def trained(self, name: str, *, train: Sequence[int], held_out: Sequence[int], **of_plan: Any) -> JobRow:
        """A job of `support` with its frozen rows and an adapter of its own that came home."""
        folder = self.context.home.datasets / name
        folder.mkdir(parents=True)
        for split, numbers in (("train", train), ("held_out", held_out)):
            (folder / f"{split}.jsonl").write_bytes(b"".join(map(line, numbers)))
        made = facts(content_hash=name, held_out_sha256=sha256_file(folder / "held_out.jsonl"))
        asked = plan(dataset=made, **of_plan)
        self.context.home.adapters.mkdir(parents=True, exist_ok=True)
        home = adapter(self.context.home.adapters / name, up=0.5 + len(self.jobs()))
        receipt = json.loads((home / "receipt.json").read_text())
        receipt |= {"job": name, "name": "support", "dataset": {"content_hash": name}}
        (home / "receipt.json").write_text(json.dumps(receipt))
        row = rows.job(
            id=name,
            plan_hash=asked.hash,
            manifest_path=str(self.manifest),
            dataset=str(folder),
            state="succeeded",
            adapter=str(home),
            ended_at=self.clock.now(),
        )

        def change(tx: Any) -> None:
            tx.insert_job(row, asked.to_json())
            number(self.context, tx, row)

        self.context.store.write(change)
        return row

    def answers(self, job: JobRow, numbers: Sequence[int], right: Sequence[int]) -> None:
        """What the job's adapter says to these rows is known: it is right about some of them."""
        text = b"".join(map(line, numbers))
        asked = self.plan(job)
        spec = _spec(asked, Path("rows.jsonl"), sha256(text).hexdigest())
        out = self.context.home.evaluations / _identity(spec, Path(job.adapter or "")) / "out"
        out.mkdir(parents=True, exist_ok=True)
        scores = [
            {"row_sha256": sha256(line(n).rstrip()).hexdigest(), "output": f"yes {n}" if n in right else "no"}
            for n in numbers
        ]
        (out / "scores.jsonl").write_text("".join(json.dumps(one) + "\n" for one in scores))
        (out / "result.json").write_text("{}")

    def plan(self, job: JobRow) -> Plan:
        return self.context.plan(job)

    def version(self, job: JobRow) -> VersionRow:
        found = self.context.store.read().one(VersionRow, schedule_sql.VERSION_OF_JOB, job_id=job.id)
        assert found is not None
        return found


def line(n: int) -> bytes:
    """A frozen row: the right answer is its own number."""
    prompt = (Message(role="user", content=f"Is thing {n} fine?"),)
    return to_line(Completion(prompt=prompt, completion=(Message(role="assistant", content=f"yes {n}"),)))


@contextmanager
def bench_in(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Bench]:
    """A database of its own in `folder`."""
    clock = ManualClock(START)
    store = SqliteStore.open(folder / "ftorch.db")
    provider = CloudProvider(Cloud(clock))
    home = Home(folder / "home").ensure()
    context = Context(store, clock, Ids(), home, "abc123", dict(env or {}), lambda _name: provider)
    (folder / "job.yaml").write_text(MANIFEST)
    (folder / "ftorch.toml").write_text('[local]\nrate = "0.36 USD"\n')
    bench = Bench(folder, context, clock, Scheduler(context, Alone(), Retrain(context), pool=Inline))
    bench.write(*["yes"] * 60)
    yield bench
    store.close()
