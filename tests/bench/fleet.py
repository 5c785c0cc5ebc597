"""The provider over the fleet's API, and a daemon that works with it: `python fleet.py HOME PORT` until all is done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.files import sha256_file
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.costs.items import EntryKind, LineItem, Quote, SpendSource, Window, time_charge
from ftorch.daemon.loop import Daemon
from ftorch.jobs.context import Context
from ftorch.manifest.plan import Plan
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
from ftorch.providers.http import Http
from ftorch.store import SqliteStore

NAME = "fleet"
RATE = Decimal("3.60")
POLL_S = 5.0


class Run(BaseModel):
    """A run as the list has it."""

    id: str
    key: str
    began: float
    ended: float | None


class Page(BaseModel):
    """One page of the list."""

    runs: list[Run]
    following: int | None


class FleetProvider:
    """The contract over HTTP, found and observed by the list alone."""

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        billed_by=BilledBy.SECOND,
        spend_source=SpendSource.MEASURED_TIME,
        billing_quantum_s=1.0,
        settle_lag_s=0.0,
        rents_machines=False,
        client_chosen_id=False,
        find=Find.LIST,
        list_page_size=100,
        visibility_lag_s=0.0,
        create_timeout_s=30.0,
        requests_per_second=2000.0,
        min_poll_s=POLL_S,
    )

    def __init__(self, port: int) -> None:
        self._http = Http(NAME, f"http://127.0.0.1:{port}", clock=SystemClock())

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        return cls(int(env["FLEET_PORT"]))

    def check(self) -> Account:
        return Account("acct", "the fleet")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        return Staged(True, bundle.sha256)

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        return (Placement("gpu", RATE),)

    def submit(self, order: RunOrder) -> RunRef:
        made = self._http.create("/runs", Run, send_before=order.send_before, json={"key": order.key})
        return RunRef(NAME, "acct", order.key, made.id)

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Create starts already."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        found: dict[str, list[RunRef]] = {}
        for run in self._list():
            if run.key in keys:
                found.setdefault(run.key, []).append(RunRef(NAME, "acct", run.key, run.id))
        return found

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        now = datetime.now(UTC)
        wanted = {ref.key: ref for ref in refs}
        return {wanted[run.key]: _observation(run, now) for run in self._list() if run.key in wanted}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        return LogPage((), cursor, is_last=True)

    def cancel(self, ref: RunRef) -> None:
        """Nobody cancels here."""

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        weights = dest / "adapter_model.safetensors"
        self._http.download("/adapter", weights)
        (dest / "adapter_config.json").write_text(json.dumps({"r": 4, "base_model_name_or_path": "builtin:tiny"}))
        files = {path.name: FileDigest(sha256_file(path), path.stat().st_size) for path in dest.iterdir()}
        return Artifact(dest, files)

    def release(self, ref: RunRef) -> bool:
        return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        period = Window(history[-1].billable_from, history[-1].billable_to)  # type: ignore[arg-type]  # it has ended
        return (
            LineItem(
                source=SpendSource.MEASURED_TIME,
                source_ref=f"{ref.remote_id}/time",
                kind=EntryKind.PROVISIONAL,
                amount=time_charge(RATE, period),
                quantity=period.seconds,
                unit="second",
                unit_price=RATE / 3600,
                period=period,
                as_of=period.end,
                description="gpu time",
                run_key=ref.key,
            ),
        )

    def owned(self, installation: str) -> Iterator[RunRef]:
        return (RunRef(NAME, "acct", run.key, run.id) for run in self._list())

    def close(self) -> None:
        self._http.close()

    def _list(self) -> Iterator[Run]:
        after: int | None = 0
        while after is not None:
            page = self._http.read("/runs", Page, operation="list", params={"after": after})
            yield from page.runs
            after = page.following


def _observation(run: Run, now: datetime) -> Observation:
    began = datetime.fromtimestamp(run.began, UTC)
    if run.ended is None:
        return Observation(RunState.RUNNING, "running", now, rate=RATE, billable_from=began)
    ended = datetime.fromtimestamp(run.ended, UTC)
    seen = Observation(RunState.SUCCEEDED, "succeeded", now, rate=RATE, billable_from=began)
    return replace(seen, billable_to=ended)


def main(home: Path, port: int) -> None:
    """Be the daemon until nothing is left, then tell how many commits it took."""
    store = SqliteStore.open(home / "ftorch.db")
    provider: Any = FleetProvider(port)
    context = Context(
        store=store,
        clock=SystemClock(),
        ids=Ids(),
        home=Home(home),
        installation="abc123",
        env={},
        open_provider=lambda _name: provider,
    )
    Daemon(context, cwd=home, until_idle=True).run()
    print(json.dumps({"commits": store.commits, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
