"""A small cloud in memory for tests of the engine: it creates runs, loses answers, duplicates, forgets, preempts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Protocol, Self

from ftorch.core.clock import Clock, ManualClock
from ftorch.core.errors import (
    ArtifactError,
    NoCapacityError,
    ProviderUnavailableError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.files import sha256_file
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Quote, SpendSource, Window, time_charge
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import (
    Account,
    Artifact,
    BilledBy,
    Bundle,
    Capabilities,
    FileDigest,
    Find,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
)
from unit.jobs.test_receipt import floats, safetensors

RATE = Decimal("3.60")
TRAINING = timedelta(seconds=60)
NAME = "cloud"


@dataclass
class Remote:
    """A run as the cloud knows it."""

    id: str
    key: str
    created_at: datetime
    state: RunState = RunState.RUNNING
    ended_at: datetime | None = None
    released: bool = False
    retry_event: RetryEvent | None = None
    max_duration_s: int | None = None


class CloudClock(Protocol):
    """A provider has a clock of its own."""

    def now(self) -> datetime: ...


class FastClock:
    """A clock that goes faster than ours: a provider's seconds are what it bills."""

    def __init__(self, clock: ManualClock, speed: float) -> None:
        self._clock = clock
        self._start = clock.now()
        self._speed = speed

    def now(self) -> datetime:
        return self._start + (self._clock.now() - self._start) * self._speed


class ShiftedClock:
    """A clock that is wrong by always the same."""

    def __init__(self, clock: ManualClock, offset: timedelta) -> None:
        self._clock = clock
        self._offset = offset

    def now(self) -> datetime:
        return self._clock.now() + self._offset


class Cloud:
    """The service: what exists, what was asked, what goes wrong next."""

    def __init__(self, clock: CloudClock) -> None:
        self.clock: CloudClock = clock
        self.runs: list[Remote] = []
        self.faults: list[str] = []
        self.hidden_until: datetime | None = None
        self.places: list[tuple[str, Decimal]] = [("gpu", RATE)]
        self.rate_now: Decimal = RATE
        self.token_price: TokenPrice | None = None
        """Billed by tokens instead of time."""
        self.quoted: Money | None = None
        self.accrual: Money | None = None
        self.is_fetchable = True
        self.prefix = ""
        self.enforces_deadlines = False
        self.is_stubborn = False
        """It takes a cancel and goes on."""
        self.is_careless = False
        """Asked for one installation's runs, it shows everybody's."""
        self.training = TRAINING
        self.asked: Counter[str] = Counter()

    def create(self, key: str, max_duration_s: int | None = None) -> Remote:
        run = Remote(f"{self.prefix}remote-{len(self.runs) + 1}", key, self.clock.now(), max_duration_s=max_duration_s)
        self.runs.append(run)
        return run

    def fault(self) -> str | None:
        return self.faults.pop(0) if self.faults else None

    def look(self) -> None:
        """Let time do its work."""
        for run in self.runs:
            if run.state is not RunState.RUNNING:
                continue
            state, after = RunState.SUCCEEDED, self.training
            if self.enforces_deadlines and run.max_duration_s is not None:
                deadline = timedelta(seconds=run.max_duration_s)
                state, after = (RunState.TIMED_OUT, deadline) if deadline < after else (state, after)
            if self.clock.now() >= run.created_at + after:
                run.state, run.ended_at = state, run.created_at + after

    def end(self, run: Remote, state: RunState, event: RetryEvent | None = None) -> None:
        run.state, run.ended_at, run.retry_event = state, self.clock.now(), event


class CloudProvider:
    """The contract over the cloud, without a wire."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        billed_by=BilledBy.SECOND,
        spend_source=SpendSource.MEASURED_TIME,
        billing_quantum_s=1.0,
        settle_lag_s=3600.0,
        rents_machines=True,
        client_chosen_id=False,
        find=Find.LIST,
        list_page_size=100,
        visibility_lag_s=10.0,
        create_timeout_s=20.0,
        requests_per_second=1000.0,
        min_poll_s=5.0,
    )

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        raise NotImplementedError("tests make it themselves")

    def check(self) -> Account:
        return Account("acct", "a cloud in memory")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        return Staged(True, bundle.sha256)

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        self._cloud.asked["quote"] += 1
        amount = self._cloud.quoted
        return Quote(amount, self._cloud.clock.now(), "the cloud's own price") if amount and staged else None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        price = self._cloud.token_price
        return [Placement(name, None if price else rate, token_price=price) for name, rate in self._cloud.places]

    def submit(self, order: RunOrder) -> RunRef:
        self._cloud.asked["submit"] += 1
        match self._cloud.fault():
            case "lost after create":
                self._cloud.create(order.key)
                raise SubmitUnknownError("no answer", provider=NAME, operation="submit")
            case "lost before create":
                raise SubmitUnknownError("no answer", provider=NAME, operation="submit")
            case "twice":
                self._cloud.create(order.key)
                self._cloud.create(order.key)
                raise SubmitUnknownError("no answer", provider=NAME, operation="submit")
            case "unreachable":
                raise ProviderUnavailableError("connection refused", provider=NAME, operation="submit")
            case "no capacity":
                raise NoCapacityError("no GPU", provider=NAME, operation="submit")
            case "reject":
                raise RunRejectedError("rank 999 is too much", provider=NAME, operation="submit")
            case _:
                return self._ref(self._cloud.create(order.key, order.max_duration_s))

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Create starts already."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        self._cloud.asked["find"] += 1
        if self._cloud.hidden_until and self._cloud.clock.now() < self._cloud.hidden_until:
            return {}
        found: dict[str, list[RunRef]] = {}
        for run in self._cloud.runs:
            if run.key in keys:
                found.setdefault(run.key, []).append(self._ref(run))
        return found

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        self._cloud.asked["observe"] += 1
        self._cloud.look()
        return {ref: self._observation(run) if (run := self._run(ref)) else self._absence() for ref in refs}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        return LogPage((), cursor, is_last=True)

    def cancel(self, ref: RunRef) -> None:
        self._cloud.asked["cancel"] += 1
        if (run := self._run(ref)) and run.ended_at is None and not self._cloud.is_stubborn:
            self._cloud.end(run, RunState.STOPPED)

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        if not self._cloud.is_fetchable:
            raise ArtifactError("half of it is not there")
        dest.mkdir(parents=True, exist_ok=True)
        tensors = {"m.q.lora_A.weight": ([4, 4], floats(16)), "m.q.lora_B.weight": ([4, 4], floats(16))}
        (dest / "adapter_model.safetensors").write_bytes(safetensors(tensors))
        config = {"r": 4, "base_model_name_or_path": "builtin:tiny"}
        (dest / "adapter_config.json").write_text(json.dumps(config))
        files = {path.name: FileDigest(sha256_file(path), path.stat().st_size) for path in dest.iterdir()}
        return Artifact(dest, files, trained_tokens=1500)

    def release(self, ref: RunRef) -> bool:
        self._cloud.asked["release"] += 1
        run = self._run(ref)
        if run is not None:
            run.released = True
        return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        run = self._run(ref)
        if run is None or run.ended_at is None:
            return ()
        period = Window(run.created_at, run.ended_at)
        return (
            LineItem(
                source=SpendSource.MEASURED_TIME,
                source_ref=f"{run.id}/time",
                kind=EntryKind.PROVISIONAL,
                amount=time_charge(RATE, period),
                quantity=period.seconds,
                unit="second",
                unit_price=RATE / 3600,
                period=period,
                as_of=run.ended_at,
                description="gpu time",
                run_key=ref.key,
            ),
        )

    def owned(self, installation: str) -> Iterator[RunRef]:
        """Released machines are gone; a careless service also shows what is not ours."""
        self._cloud.asked["owned"] += 1
        shown = [run for run in self._cloud.runs if not run.released]
        return (self._ref(run) for run in shown if self._cloud.is_careless or installation_of(run.key) == installation)

    def close(self) -> None:
        """Nothing is open."""

    def _ref(self, run: Remote) -> RunRef:
        return RunRef(NAME, "acct", run.key, run.id)

    def _run(self, ref: RunRef) -> Remote | None:
        wanted = [run for run in self._cloud.runs if run.key == ref.key and ref.remote_id in (None, run.id)]
        return wanted[0] if wanted else None

    def _absence(self) -> Observation:
        return Observation(RunState.ABSENT, "404", self._cloud.clock.now())

    def _observation(self, run: Remote) -> Observation:
        seen = Observation(
            run.state, run.state.value, self._cloud.clock.now(), rate=self._cloud.rate_now, billable_from=run.created_at
        )
        ended = replace(seen, billable_to=run.ended_at, retry_event=run.retry_event)
        return replace(ended, rate=None if self._cloud.token_price else ended.rate, accrual=self._cloud.accrual)
