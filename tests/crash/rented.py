"""A laptop and Lambda: the engine, the provider, machines with a real sshd each, and what must be true at the end.

With a `ManualClock` the machines' switches never fire, for they live in real time; with a `FastClock` everybody's
minutes are as short.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import httpx

from contract.rows import plan_with_rows
from crash.world import Fate, Inline, mortal
from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.clock import FastClock
from ftorch.emulators.lambda_cloud.emulator import KEY, SWITCH_KEY, LambdaEmulator
from ftorch.emulators.lambda_cloud.service import Machine
from ftorch.emulators.server import MovableClock
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Budget, Retry, RetryEvent
from ftorch.providers.base import RunRef
from ftorch.providers.http import Http
from ftorch.providers.lambda_cloud.driver import Driver
from ftorch.providers.lambda_cloud.pace import Pacer
from ftorch.providers.lambda_cloud.provider import LambdaProvider
from ftorch.providers.lambda_cloud.settings import Settings
from ftorch.providers.ssh.link import Link
from ftorch.store import JobRow, RunRow, SqliteStore

INSTALLATION = "abc123"
NAME = "lambda"
LIMIT = Money.parse("2.00 USD")
_STEP_S = 5.0
_MOMENT_S = 0.02
_ID = re.compile(r"[0-9a-f]{32}")

Value = TypeVar("Value")


class MortalTransport(httpx.HTTPTransport):
    """Requests whose beginning and end a life may not survive."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {_ID.sub('{id}', request.url.path.removeprefix('/api/v1'))}"
        self._fate.boundary(f"{what} asked")
        response = super().handle_request(request)
        content = b"".join(cast("Iterable[bytes]", response.stream))
        self._fate.boundary(f"{what} answered")
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(content))


class MortalLink(Link):
    """Commands whose beginning and end a life may not survive."""

    def __init__(self, fate: Fate) -> None:
        super().__init__(NAME)
        self._fate = fate

    def _wait(self, work: Coroutine[Any, Any, Value]) -> Value:
        name = str(getattr(work, "__name__", "command")).strip("_")
        try:
            self._fate.boundary(f"ssh {name} asked")
        except BaseException:
            work.close()
            raise
        done = super()._wait(work)
        self._fate.boundary(f"ssh {name} answered")
        return done


@dataclass
class Laptop:
    """One life of ftorch."""

    context: Context
    provider: LambdaProvider
    engine: Engine

    def settle(self) -> None:
        """Tick until nothing more happens at this moment."""
        for _ in range(50):
            self.engine.progressed.clear()
            self.engine.tick()
            if not self.engine.progressed.is_set():
                return

    def close(self) -> None:
        self.provider.close()
        self.context.store.close()


@dataclass
class Rented:
    """Lambda, a state folder, and one laptop after the other."""

    folder: Path
    clock: MovableClock
    speed: float = 1.0
    fate: Fate = field(default_factory=Fate)
    request_s: float = 0.0
    launch_s: float = 0.0
    _laptop: Laptop | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = Home(self.folder / "home").ensure()
        self.emulator = LambdaEmulator(self.clock, self.folder / "lambda", speed=self.speed)
        self.service = self.emulator.service
        self.service.boot_s = 20.0
        self.plans: dict[str, Plan] = {}

    def __enter__(self) -> Self:
        self.emulator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.close_lid()
        self.emulator.__exit__(None, None, None)
        assert self.emulator.violations == []
        assert self.service.processes() == []

    @property
    def laptop(self) -> Laptop:
        """The laptop, opened when it is closed."""
        if self._laptop is None:
            store = mortal(SqliteStore.open(self.home.root / "ftorch.db"), self.fate)
            provider = self.make_provider()
            context = Context(
                store=store,
                clock=self.clock,
                ids=Ids(),
                home=self.home,
                installation=INSTALLATION,
                env={},
                open_provider=lambda _name: provider,
            )
            self._laptop = Laptop(context, provider, Engine(context, pool=Inline))
            with self.fate.asleep():
                account = provider._settings.account
                store.write(lambda tx: tx.put_meta(f"mark/{NAME}/{account}", "ft-abc123-earlier"))
        return self._laptop

    def make_provider(self) -> LambdaProvider:
        """The provider as `from_env` makes it, with this world's clock and pace, and every request a boundary."""
        settings = Settings(self.emulator.api, KEY, SWITCH_KEY, ssh_user=self.service.user, ssh_port=self.service.port)
        client = httpx.Client(transport=MortalTransport(self.fate), trust_env=False)
        http = Http(NAME, settings.url, clock=self.clock, key=KEY, client=client, timeout_s=10, create_timeout_s=2)
        pacer = Pacer(self.home, self.clock, request_s=self.request_s, launch_s=self.launch_s)
        driver = Driver(settings, self.home, self.clock, MortalLink(self.fate), answer_s=10)
        return LambdaProvider(settings, self.home, http, pacer, driver, self.clock)

    def open_lid(self) -> None:
        """A new life begins."""
        assert self.laptop.engine.under_way == 0

    def close_lid(self) -> None:
        """ftorch is gone; what it held in memory goes with it."""
        if self._laptop is not None:
            self._laptop.close()
            self._laptop = None

    def submit(self, **changes: Any) -> str:
        """A job of its own for every call."""
        number = len(self.plans) + 1
        values = {
            "name": f"job-{number}",
            "providers": (NAME,),
            "budget": Budget(limit=LIMIT),
            "retry": Retry(on_events=tuple(RetryEvent), max_runs=3),
            **changes,
        }
        chosen, _ = plan_with_rows(self.folder / f"rows-{number}", **values)
        context, now = self.laptop.context, self.clock.now()
        row = JobRow(
            id=context.ids.ulid(now),
            name=chosen.name,
            plan_hash=chosen.hash,
            manifest_path="m.yaml",
            dataset=str(self.folder / f"rows-{number}"),
            base_model=chosen.base_model.id,
            method="sft",
            provider=NAME,
            state="planned",
            desired="run",
            limit_micro=chosen.budget.limit.micro if chosen.budget else None,
            labels=json.dumps({}),
            host="here",
            created_at=now,
            next_at=now,
        )
        context.store.write(lambda tx: tx.insert_job(row, chosen.to_json()))
        self.plans[row.id] = chosen
        return row.id

    def run_until(self, is_done: Callable[[], object], *, turns: int = 2000) -> None:
        """Let the engine work and time pass until something holds."""
        for _ in range(turns):
            self.laptop.settle()
            if is_done():
                return
            self.let_pass(_STEP_S)
        raise AssertionError(f"it does not come to that: {self.told()}")

    def let_pass(self, seconds: float) -> None:
        """Time goes on, with a real moment for what really happens."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance(seconds)
            time.sleep(_MOMENT_S)
        else:
            self.clock.sleep(min(seconds, 2.0))

    def finish(self, job: str) -> JobRow:
        """Until the job has ended and every run is settled."""
        self.run_until(lambda: self.job(job).ended_at is not None)
        self.settle_bills(job)
        return self.job(job)

    def settle_bills(self, job: str) -> None:
        if isinstance(self.clock, ManualClock):
            self.clock.advance(1000)
        self.run_until(lambda: all(run.settled_at for run in self.runs(job)))

    def job(self, job: str) -> JobRow:
        found = self.laptop.context.store.job(job)
        assert found is not None
        return found

    def runs(self, job: str) -> list[RunRow]:
        return list(self.laptop.context.store.runs_of(job))

    def told(self) -> list[str]:
        store = self.laptop.context.store
        return [
            f"{event.at:%H:%M:%S} {event.event} {event.detail}"
            for job in store.jobs()
            for event in store.events_of(job.id)
        ]

    def machines(self, run: RunRow) -> Sequence[Machine]:
        return self.service.named(run.key.partition("/")[0])

    def faults(self, job: str, *, exact: bool = True) -> list[str]:
        """What is wrong at the end of a job: empty when it cost what the hidden invoice says and left nothing."""
        runs = self.runs(job)
        names = {run.key.partition("/")[0] for run in runs}
        machines = [one for name in sorted(names) for one in self.service.named(name)]
        return [
            *(f"{one.id} is alive" for one in machines if one.is_alive),
            *(f"two machines of {name} at once" for name in names if self._overlap(name)),
            *(f"{run.key} holds {run.hold_micro}" for run in runs if run.hold_micro or run.settled_at is None),
            *(f"the key {key.name} is left" for key in self.service.ssh_keys("workspace-tiny") if key.name in names),
            *(fault for one in machines for fault in self._money_faults(one, exact=exact)),
        ]

    def _overlap(self, name: str) -> bool:
        """Two machines of one run were alive at the same moment."""
        lives = sorted((one.launched_at, one.ended_at or self.clock.now()) for one in self.service.named(name))
        return any(end > start for (_, end), (start, _) in pairwise(lives))

    def _money_faults(self, one: Machine, *, exact: bool) -> list[str]:
        owed = Money(self.service.invoice(one))
        account = self.laptop.provider._settings.account
        ref = RunRef(NAME, account, one.order.name or "", one.id)
        items = self.laptop.provider.charges(ref, ())
        entries = [entry for entry in self.laptop.context.store.ledger() if entry.source_ref == f"{one.id}/time"]
        booked = sum(entry.amount_micro for entry in entries)
        if not items or items[0].between is None:
            return [f"{one.id}: owed {owed}, and nothing is known of it"]
        low, high = items[0].between
        return [
            *(f"{one.id}: owed {owed}, not between {low} and {high}" for _ in [0] if not low <= owed <= high),
            *(f"{one.id}: owed {owed}, booked {booked}" for _ in [0] if exact and booked != owed.micro),
        ]


def fast(folder: Path, speed: float = 60.0, **settings: Any) -> Rented:
    """Everybody's time goes so many times as fast: the switches of the machines too."""
    rented = Rented(folder, FastClock(speed), speed=speed, **settings)
    rented.service.training = {"seconds": 1.0}
    return rented


def slow(folder: Path, **settings: Any) -> Rented:
    """Time goes when it is told to."""
    return Rented(folder, ManualClock(), **settings)
