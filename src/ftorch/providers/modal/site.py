"""Modal at work: what the provider's calls do."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Self

from ftorch.core.clock import Clock
from ftorch.core.errors import CredentialsError, RunNotFoundError
from ftorch.costs.items import LineItem, Window
from ftorch.manifest.plan import Plan
from ftorch.providers import output
from ftorch.providers.base import (
    ENDED,
    Account,
    Artifact,
    Bundle,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
    StagedContent,
)
from ftorch.providers.late_records import charge, charge_as_seen
from ftorch.providers.modal import artifact, bills, content, machines, money, names, orders, readings
from ftorch.providers.modal.capabilities import SETTLE_LAG_S
from ftorch.providers.modal.cargo import cargo
from ftorch.providers.modal.image import Images
from ftorch.providers.modal.logs import Logs
from ftorch.providers.modal.machines import Rates
from ftorch.providers.modal.names import Mark
from ftorch.providers.modal.sdk import DEADLINE_S, Sdk
from ftorch.providers.modal.search import Search
from ftorch.providers.modal.settings import ID_VARIABLE, Settings
from ftorch.providers.modal.submitting import Submitting
from ftorch.providers.modal.volume import Files
from ftorch.providers.modal.watching import Watching
from ftorch.providers.modal.workspace import Workspace

_RATES_FOR_S = 600.0


class Site:
    """One workspace, through one client. Threads may share it."""

    def __init__(self, sdk: Sdk, settings: Settings, clock: Clock, logs: Path, create_deadline_s: float) -> None:
        self._sdk = sdk
        self._settings = settings
        self._clock = clock
        self._files = Files(sdk, settings.environment)
        self._workspace = Workspace(sdk, settings.environment)
        self._search = Search(self._workspace, self._files)
        self._logs = Logs(sdk, logs)
        self._watching = Watching(self._workspace, self._files, self._search, self._logs, clock)
        self._images = Images(sdk, self._workspace)
        self._submitting = Submitting(
            sdk, self._workspace, self._files, self._images, self._search, clock, create_deadline_s
        )
        self._account: str | None = None
        self._rates: tuple[float, Rates] | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, settings: Settings, clock: Clock, logs: Path, *, deadline_s: float | None, create_deadline_s: float
    ) -> Self:
        """Sends nothing: the connection comes with the first call."""
        return cls(Sdk(settings, deadline_s=deadline_s or DEADLINE_S), settings, clock, logs, create_deadline_s)

    def check(self) -> Account:
        workspace, environment = self._workspace.name(), self._settings.environment
        place = f"{workspace}/{environment}" if environment else workspace
        return Account(place, f"the workspace {workspace}" + (f", environment {environment}" if environment else ""))

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        orders.check(plan)
        sha256, code = cargo()
        folders = {names.bundle_folder(bundle.sha256): _contents(bundle), names.code_folder(sha256): code}
        for folder, contents in folders.items():
            self._bring(folder, contents)
        self._images.of(plan, "stage")
        return Staged(
            ready=True,
            bundle_sha256=bundle.sha256,
            detail={
                orders.BUNDLE: names.bundle_folder(bundle.sha256),
                orders.CODE: names.code_folder(sha256),
                orders.SPEC: (bundle.folder / "job.json").read_text(),
            },
        )

    def placements(self, plan: Plan) -> Sequence[Placement]:
        orders.check(plan)
        return machines.placements(plan, self._rates_now("placements"))

    def submit(self, order: RunOrder) -> RunRef:
        # Asked before, so that nothing can fail between the answer and the ref.
        account = self._own_account()
        return _ref(account, self._submitting.submit(order))

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        found = self._search.find(keys, self._clock.now(), "find") if keys else {}
        return {key: [_ref(self._own_account(), mark) for mark in marks] for key, marks in found.items()}

    def owned(self, installation: str) -> Iterator[RunRef]:
        for mark in self._search.owned(installation, "owned"):
            yield _ref(self._own_account(), mark)

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        self._check_account(*refs)
        return self._watching.observe(refs, self._rates_now("observe") if refs else {})

    def logs(self, ref: RunRef, cursor: str | None) -> LogPage:
        mark = self._mark(ref, "logs")
        # Asked first: what is written between the two is read with the next page.
        is_over = self._is_over(ref)
        return self._logs.page(mark, cursor, self._clock.now(), is_over=is_over)

    def cancel(self, ref: RunRef) -> None:
        self._check_account(ref)
        targets = [self._mark(ref, "cancel")] if ref.remote_id else self._search.live(ref.key, "cancel")
        for mark in targets:
            self._stop(mark, "cancel")

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        return artifact.fetch(self._files, self._mark(ref, "fetch").key, dest)

    def release(self, ref: RunRef) -> bool:
        try:
            mark = self._mark(ref, "release")
            if mark.sandbox_id and self._workspace.exit_code(mark.sandbox_id, "release") is None:
                self._stop(mark, "release")
                return False
        except RunNotFoundError:
            return True
        self._logs.bring_home(mark, self._clock.now())
        self._drop_checkpoints(mark.key)
        return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        seen = self.observe([ref]).get(ref)
        if seen is None or seen.state is RunState.ABSENT:
            return charge_as_seen(money.subject(ref.key), history)
        mark, now = self._mark(ref, "charges"), self._clock.now()
        recorded = self._workspace.cost_of(mark, seen.billable_from, now, "charges")
        run = money.subject(ref.key)
        return charge(run, seen, self._rate(mark), recorded, now=now, settle_lag_s=SETTLE_LAG_S)

    def line_items(self, window: Window) -> Iterator[LineItem]:
        def shares(app_id: str, hour: datetime) -> Mapping[str, Decimal]:
            return self._workspace.costs_of_hour(app_id, hour, "line_items")

        return bills.line_items(self._sdk, window, shares, self._clock.now())

    def staged_content(self) -> Iterator[StagedContent]:
        return content.listed(self._files)

    def discard(self, one: StagedContent) -> None:
        content.discard(self._files, one)

    def close(self) -> None:
        self._sdk.close()

    def _bring(self, folder: str, contents: Mapping[str, Path | bytes]) -> None:
        """Upload a folder named by its content, unless all of it is there."""
        there = {entry.path for entry in self._files.entries(folder, "stage", recursive=True)}
        wanted = {f"{folder}/{name}": content for name, content in contents.items()}
        if not wanted.keys() <= there:
            self._files.write(wanted, "stage")

    def _stop(self, mark: Mark, operation: str) -> None:
        """End a sandbox that lives. Noted before: Modal does not tell an end of ours from one of its own."""
        try:
            if self._workspace.exit_code(mark.sandbox_id, operation) is not None:
                return
        except RunNotFoundError:
            return
        self._submitting.stopped(mark)
        self._files.write({f"{names.CANCELLED}/{mark.name}": b"{}"}, operation)
        self._workspace.terminate(mark.sandbox_id, operation)

    def _drop_checkpoints(self, key: str) -> None:
        """Once the adapter is made, its checkpoints and those of the runs before it only cost."""
        if self._files.read(f"{names.out_folder(key)}/{output.RESULT}", "release") is None:
            return
        for one in list(readings.chain(self._files, key)):
            self._files.remove(f"{names.out_folder(one)}/{output.CHECKPOINTS}", "release")

    def _is_over(self, ref: RunRef) -> bool:
        seen = self._watching.observe([ref], {}).get(ref)
        return seen is not None and seen.state in ENDED

    def _rate(self, mark: Mark) -> Decimal | None:
        machine = self._watching.machine(mark.sandbox_id)
        return machine.rate(self._rates_now("charges")) if machine else None

    def _rates_now(self, operation: str) -> Rates:
        """What the workspace pays, asked now and then."""
        now_s = self._clock.boot_s()
        with self._lock:
            if self._rates is not None and now_s - self._rates[0] < _RATES_FOR_S:
                return self._rates[1]
        rates = self._workspace.rates(operation)
        with self._lock:
            self._rates = (now_s, rates)
        return rates

    def _mark(self, ref: RunRef, operation: str) -> Mark:
        """The sandbox that a ref means; where its id was lost, the key finds it."""
        self._check_account(ref)
        if ref.remote_id and ref.place:
            return Mark(ref.key, ref.remote_id, ref.place)
        found = self._search.find([ref.key], self._clock.now(), operation).get(ref.key, ())
        for mark in found:
            if ref.remote_id in (None, mark.sandbox_id):
                return mark
        raise RunNotFoundError(f"modal has no run {ref.key}", provider="modal", operation=operation)

    def _own_account(self) -> str:
        """Asked once: a token does not change its workspace."""
        if self._account is None:
            self._account = self.check().id
        return self._account

    def _check_account(self, *refs: RunRef) -> None:
        """A run of another workspace is not missing: we hold the wrong token."""
        for ref in refs:
            if ref.account != self._own_account():
                raise CredentialsError(
                    f"run {ref.key} lives in modal's workspace {ref.account!r}, the token opens "
                    f"{self._own_account()!r}",
                    hint=f"set {ID_VARIABLE} and its secret to a token of {ref.account!r}, then run `ftorch doctor`",
                )


def _contents(bundle: Bundle) -> dict[str, Path | bytes]:
    return {name: bundle.folder / name for name in bundle.files}


def _ref(account: str, mark: Mark) -> RunRef:
    return RunRef("modal", account, mark.key, mark.sandbox_id or None, mark.app)
