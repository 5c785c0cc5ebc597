"""A year of three schedules: both changes of the clocks in three zones, twenty deaths, and forty hours asleep.

What happened is held against a list that was made by walking through every minute of the calendar.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crash.world import Fate, Ground, Inline, Killed, SharedGround, mortal
from e2e.shell import colours, write_rows
from ftorch.core.clock import ManualClock, Reading, from_micros
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.plan import Resolved
from ftorch.jobs.planner import Planner
from ftorch.jobs.rights import Alone, Rights
from ftorch.manifest.schedule import Schedule
from ftorch.schedule.change import end
from ftorch.schedule.scheduler import Scheduler
from ftorch.schedule.start import Along, take_in
from ftorch.schedule.states import State
from ftorch.schedule.verbs import add
from ftorch.store import Store
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow
from postgres import Server
from unit.jobs.cloud import Cloud, CloudProvider
from unit.schedule.reference import reference

START = datetime(2026, 1, 1, 0, 7, tzinfo=UTC)
END = datetime(2027, 1, 1, 0, 7, tzinfo=UTC)
ASLEEP = datetime(2026, 6, 9, 5, 0, tzinfo=UTC)
SLEEP = timedelta(hours=40)
GRACE = timedelta(minutes=5)
TRAINING = timedelta(minutes=10)
DEATHS = 20
MOST_LATE_S = 100.0

# A night that is not there and one that is there twice; half an hour back, by the wall; and once a week.
RULES: Mapping[str, Mapping[str, object]] = {
    "weekly": {"cron": "0 3 * * 1", "timezone": "America/New_York", "misfire": "once"},
    "nightly": {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "misfire": "skip"},
    "often": {"cron": "*/45 1 * * 0,3", "timezone": "Australia/Lord_Howe", "misfire": "all", "misfire_max": 3},
}
_MANIFEST = """\
version: 1
name: {name}
base_model: builtin:tiny
method: {{type: sft, lora: {{rank: 4}}, epochs: 1, batch_size: 8, max_length: 64}}
dataset: {{path: rows.jsonl, held_out: {{fraction: 0.2}}}}
provider: {{name: local}}
"""


@dataclass(frozen=True)
class Trained:
    """Takes jobs in as the daemon does, on data that was read once, and finds every adapter good."""

    context: Context
    resolved: Mapping[str, Resolved]

    def start(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        rule = Schedule.model_validate_json(schedule.rule)
        along = Along(self.context, schedule, occurrence, rule, {}, "always")
        assert take_in(along, self.resolved[schedule.name], None) is None

    def judge(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        end(self.context, occurrence, State.PROMOTED)


@dataclass
class Year:
    """Three schedules in as many lives as it takes."""

    folder: Path
    ground: Ground
    chance: random.Random
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    lives: int = 0

    def __post_init__(self) -> None:
        write_rows(self.folder / "rows.jsonl", colours())
        context = self.context(self.ground.open(0))
        planner = Planner({}, self.folder, context.home, None, self.clock)
        self.resolved = {}
        for name, rule in RULES.items():
            path = self.folder / f"{name}.yaml"
            path.write_text(_MANIFEST.format(name=name))
            self.resolved[name] = planner.resolve(path)
            add(context, path, {**rule, "when": ("always",)})
        self.ground.dies(0, context.store)

    def live(self) -> Store:
        """From the first day to the last; returns the store to look into."""
        # A commit and a half for each time, at the least: all deaths come within the year.
        self.fate = Fate(set(self.chance.sample(range(1, 3000), DEATHS)))
        daemons = [self.born(number) for number in range(self.ground.daemons)]
        has_slept = False
        while self.clock.now() < END:
            self.jobs_end(daemons[0][1])
            due: list[datetime] = []
            for number in self.chance.sample(range(len(daemons)), len(daemons)):
                daemons[number], at = self.turn(number, daemons[number])
                due += [at] if at else []
            now = self.clock.now()
            if not has_slept and now >= ASLEEP:
                has_slept = True
                self.clock.advance(SLEEP.total_seconds())
                continue
            # Nothing happens before the next time, or the end of a job.
            soonest = min([*due, *([now + TRAINING] if self.is_busy(daemons[0][1]) else [])], default=now)
            ahead_s = max((soonest - now).total_seconds(), 0.0)
            ahead_s += self.chance.uniform(1.0, MOST_LATE_S)
            self.clock.advance(ahead_s if has_slept else min(ahead_s, (ASLEEP - now).total_seconds()))
        self.fate.is_asleep = True
        for _ in range(20):
            self.clock.advance(1)
            self.jobs_end(daemons[0][1])
            self.turn(0, daemons[0])
            self.clock.advance(TRAINING.total_seconds())
        return daemons[0][1]

    def turn(self, number: int, daemon: tuple[Scheduler, Store]) -> tuple[tuple[Scheduler, Store], datetime | None]:
        try:
            return daemon, daemon[0].tick().next_at
        except Killed:
            self.lives += 1
            self.ground.dies(number, daemon[1])
            self.clock.advance(3.0 * (self.lives % 5))
            return self.turn(number, self.born(number))

    def born(self, number: int) -> tuple[Scheduler, Store]:
        """A new process: it knows nothing but the database."""
        store = mortal(self.ground.open(number), self.fate)
        rights: Rights = self.ground.rights(store, self.clock, f"daemon {number}") or Alone()
        context = self.context(store)
        return Scheduler(context, rights, Trained(context, self.resolved), pool=Inline), store

    def context(self, store: Store) -> Context:
        store.reading = Reading.of  # type: ignore[method-assign]  # a server's clock cannot be moved
        provider = CloudProvider(Cloud(self.clock))
        home = Home(self.folder / "home", artifacts=self.folder / "home").ensure()
        return Context(store, self.clock, Ids(), home, "abc123", {}, lambda _name: provider)

    def jobs_end(self, store: Store) -> None:
        """Every job takes ten minutes."""
        ended = self.clock.now() - TRAINING
        statement = (
            "UPDATE jobs SET state = 'succeeded', ended_at = created_at, version = version + 1 "
            "WHERE ended_at IS NULL AND created_at <= :ended"
        )
        with self.fate.asleep():
            if self.is_busy(store):
                store.write(lambda tx: tx.run(statement, ended=ended))

    def is_busy(self, store: Store) -> bool:
        """A job runs, nobody has looked at its end yet, or the next one waits for that."""
        open_ones = "SELECT COUNT(*) AS n FROM occurrences WHERE ended_at IS NULL"
        return bool(store.read().scalar(open_ones))


@pytest.fixture(params=["sqlite", "three daemons on postgres"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "sqlite":
        yield Ground(tmp_path)
        return
    server: Server = request.getfixturevalue("server")
    shared = SharedGround(server.fresh())
    yield shared
    shared.close()


def started(name: str, times: Sequence[datetime], woke: datetime) -> list[datetime]:
    """Which times a policy lets start, told from the list alone."""
    missed = [moment for moment in times if ASLEEP < moment < woke - GRACE]
    kept = {"once": missed[-1:], "skip": [], "all": missed[-3:]}[str(RULES[name]["misfire"])]
    return [moment for moment in times if moment not in missed or moment in kept]


def test_a_year_has_exactly_the_times_of_the_calendar_each_at_most_once(tmp_path: Path, ground: Ground) -> None:
    year = Year(tmp_path, ground, random.Random(20260101))

    store = year.live()

    assert (len(year.fate.met), year.lives) == (DEATHS, DEATHS)
    rows = {row[0]: row for row in store.counts("SELECT id, name FROM schedules")}
    jobs: Counter[str] = Counter()
    for schedule, (_, name) in rows.items():
        rule = RULES[name]
        wanted = reference(str(rule["cron"]), str(rule["timezone"]), START, END)
        found = store.counts(
            f"SELECT fire_at, job_id, state, reason FROM occurrences WHERE schedule_id = '{schedule}' ORDER BY fire_at"
        )
        found = [(from_micros(at), *rest) for at, *rest in found if from_micros(at) <= END]
        assert [at for at, *_ in found] == wanted, name
        woke = ASLEEP + SLEEP
        assert [at for at, job, *_ in found if job] == started(name, wanted, woke), name
        assert {(state, reason) for _, job, state, reason in found if job} == {("promoted", None)}
        assert {(state, reason) for _, job, state, reason in found if not job} <= {("skipped", "slept_through")}
        jobs.update(job for _, job, *_ in found if job)
    assert set(jobs.values()) == {1}
    [(made,)] = store.counts(f"SELECT COUNT(*) AS n FROM jobs WHERE created_at <= {int(END.timestamp() * 1e6)}")
    assert made == len(jobs)
