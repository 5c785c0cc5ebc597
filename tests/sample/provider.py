"""The provider `acme`: a whole provider over HTTP, small enough to copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Self

import structlog

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import ArtifactError, CredentialsError, RunNotFoundError, RunRejectedError
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Quote, SpendSource, Window, time_charge
from ftorch.manifest.catalogue import canonical_id
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.artifacts import finish, is_whole, listed_files
from ftorch.providers.base import (
    Account,
    Artifact,
    Bundle,
    Capabilities,
    FileDigest,
    LogPage,
    Observation,
    Placement,
    Progress,
    RunOrder,
    RunRef,
    RunState,
    Staged,
    StagedContent,
)
from ftorch.providers.http import Http
from ftorch.providers.sightings import last_rate, paid_time
from sample import api
from sample.capabilities import CAPABILITIES
from sample.settings import KEY_VARIABLE, Settings

_STATES: Mapping[str, RunState] = {
    "queued": RunState.QUEUED,
    "running": RunState.RUNNING,
    "finalizing": RunState.FINALIZING,
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.STOPPED,
    "preempted": RunState.STOPPED,
    "timed_out": RunState.TIMED_OUT,
}
_RETRY_EVENTS: Mapping[str, RetryEvent] = {"preempted": RetryEvent.PREEMPTED}
_KINDS: Mapping[str, EntryKind] = {"credit": EntryKind.CREDIT, "tax": EntryKind.TAX}
_FEW = 8
"""So many keys are searched one by one; for more, walking all pages is cheaper."""

log = structlog.get_logger()


class AcmeProvider:
    """Trains on acme's machines."""

    name: ClassVar[str] = "acme"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._account: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads ACME_API_KEY and, if set, ACME_URL. Sends nothing."""
        settings, clock = Settings.from_env(env), clock or SystemClock()
        return cls(Http("acme", settings.url, clock=clock, key=settings.key, key_variable=KEY_VARIABLE), clock)

    def check(self) -> Account:
        """The organisation that the key belongs to."""
        account = api.account(self._http)
        return Account(account.id, account.name)

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Upload what acme has not yet; ready when acme has validated all of it."""
        uploads = [self._upload(bundle.folder / name, sha256) for name, sha256 in bundle.files.items()]
        waiting = sum(upload.status != "ready" for upload in uploads)
        return Staged(
            ready=not waiting,
            bundle_sha256=bundle.sha256,
            detail=dict(bundle.files),
            waiting_for=f"acme validates {waiting} of {len(uploads)} files" if waiting else None,
        )

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: acme names no price beforehand."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """acme's machines, or those of them whose GPU the plan accepts."""
        machines = api.machines(self._http)
        fitting = [machine for machine in machines if not plan.resources.gpu or machine.gpu in plan.resources.gpu]
        if not fitting:
            has = ", ".join(machine.gpu for machine in machines)
            words = f"acme has no {' or '.join(plan.resources.gpu)}; it has {has}"
            raise RunRejectedError(words, provider=self.name, operation="placements")
        fitting.sort(key=lambda machine: machine.usd_per_hour)
        return [Placement(machine.name, machine.usd_per_hour) for machine in fitting]

    def submit(self, order: RunOrder) -> RunRef:
        """One POST, tagged with the run's key. acme starts the run by itself."""
        run = self._new_run(order)
        self._own_account()  # asked before, so that nothing can fail between the answer and the ref
        return self._ref(api.create_run(self._http, run, send_before=order.send_before))

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Nothing to do: create already starts."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """A search by tag for a few keys, a walk over all runs of the account for many."""
        wanted, found = set(keys), dict[str, list[RunRef]]()
        carrying = [run for run in self._carrying(wanted) if run.tag in wanted]
        for run in sorted(carrying, key=lambda run: (run.created_at, run.id)):
            found.setdefault(run.tag, []).append(self._ref(run))
        return found

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One walk over the pages until all are seen; a run that is in none of them is asked for by its id."""
        self._check_account(*refs)
        wanted = {ref.remote_id or ref.key: ref for ref in refs}
        seen: dict[RunRef, Observation] = {}
        for run in api.runs(self._http, operation="observe") if wanted else ():
            for name in (run.id, run.tag):
                if ref := wanted.pop(name, None):
                    seen[ref] = self._observation(run)
            if not wanted:
                break
        return seen | {ref: self._missing(ref) for ref in wanted.values() if ref.remote_id}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """A page of lines from line `cursor` on."""
        page = api.log_lines(self._http, self._id(ref, "logs"), int(cursor or 0))
        return LogPage(page.lines, str(page.next) if page.next else None, page.complete)

    def cancel(self, ref: RunRef) -> None:
        """Ends the run. Harmless when it has ended or is gone."""
        try:
            api.cancel_run(self._http, self._id(ref, "cancel"))
        except RunNotFoundError:
            return

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Download what is missing in `dest`; a file that was cut goes on where it ended."""
        run_id = self._id(ref, "fetch")
        run = api.run(self._http, run_id, operation="fetch")
        if self._state(run.status) is not RunState.SUCCEEDED:
            raise ArtifactError(f"run {ref.key} has no adapter: acme says {run.status}")
        result = api.result(self._http, run_id).model_dump(mode="json", by_alias=True)
        files = listed_files(result)
        for name, digest in files.items():
            if not is_whole(dest / name, digest):
                self._download(run_id, name, digest, dest)
        return finish(dest, files, result)

    def release(self, ref: RunRef) -> bool:
        """Delete what the run holds. Proven when acme says so, or does not know the run any more."""
        try:
            return api.delete_run(self._http, self._id(ref, "release")).released_at is not None
        except RunNotFoundError:
            return True

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """The price that acme keeps with the run; for a run that is gone, the time that we saw at the rate we saw."""
        try:
            run = api.run(self._http, self._id(ref, "charges"), operation="charges")
        except RunNotFoundError:
            return self._measured(ref, history)
        if run.started_at is None:
            return ()
        period = Window(run.started_at, run.ended_at or self._clock.now())
        item = LineItem(
            source=SpendSource.RUN_RECORD,
            source_ref=f"{run.id}/price",
            kind=EntryKind.PROVISIONAL,
            amount=Money(run.price_usd),
            quantity=period.seconds,
            unit="second",
            unit_price=run.usd_per_hour / 3600,
            period=period,
            as_of=run.priced_at,
            description=f"acme's price of run {run.id}",
            run_key=ref.key,
        )
        return (item,)

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All runs whose tag is one of the installation's keys."""
        for run in api.runs(self._http, operation="owned"):
            if installation_of(run.tag) == installation:
                yield self._ref(run)

    def line_items(self, window: Window) -> Iterator[LineItem]:
        """acme's bill. A row belongs to the window in which its period starts."""
        for row in api.bill_rows(self._http, window):
            yield LineItem(
                source=SpendSource.BILLING_API,
                source_ref=row.id,
                kind=_KINDS.get(row.kind, EntryKind.BILLED),
                amount=Money(row.usd),
                quantity=row.quantity,
                unit=row.unit,
                unit_price=row.usd_per_unit,
                period=Window(row.start, row.end),
                as_of=row.as_of,
                description=row.description,
                run_key=row.tag if row.tag and installation_of(row.tag) else None,
            )

    def staged_content(self) -> Iterator[StagedContent]:
        """All that the account has uploaded. acme knows content by its hash alone."""
        for upload in api.uploads(self._http):
            yield StagedContent(upload.sha256, "", upload.created_at, upload.size, upload.sha256)

    def discard(self, content: StagedContent) -> None:
        """Delete it. Harmless when it is gone."""
        api.delete_upload(self._http, content.id)

    def close(self) -> None:
        """Give back connections. Closing twice is harmless."""
        self._http.close()

    def _upload(self, file: Path, sha256: str) -> api.Upload:
        upload = api.declare_upload(self._http, sha256)
        return api.send_content(self._http, sha256, file) if upload.status == "missing" else upload

    def _new_run(self, order: RunOrder) -> api.NewRun:
        plan = order.plan
        spec = {"base_model": canonical_id(plan.base_model.id), "revision": plan.base_model.revision}
        return api.NewRun(
            tag=order.key,
            machine=order.placement.name,
            spec={**spec, "method": plan.method.model_dump(mode="json")},
            uploads=order.staged.detail,
            max_duration_s=order.max_duration_s,
            resume_from=self._resumable(order.resume_from) if order.resume_from else None,
            env=order.secrets,
        )

    def _resumable(self, earlier: RunRef) -> str | None:
        """acme's id of the run to go on from; a run that is gone is no reason not to train."""
        try:
            return api.run(self._http, self._id(earlier, "submit"), operation="submit").id
        except RunNotFoundError:
            return None

    def _carrying(self, keys: Collection[str]) -> Iterator[api.Run]:
        if len(keys) > _FEW:
            yield from api.runs(self._http, operation="find")
            return
        for key in keys:
            yield from api.runs(self._http, operation="find", tag=key)

    def _observation(self, run: api.Run) -> Observation:
        return Observation(
            state=self._state(run.status),
            provider_status=run.status,
            observed_at=self._clock.now(),
            exit_code=run.exit_code,
            rate=run.usd_per_hour,
            billable_from=run.started_at,
            billable_to=run.ended_at if run.started_at else None,
            trained_tokens=run.trained_tokens,
            detail=run.message,
            retry_event=_RETRY_EVENTS.get(run.status),
            progress=Progress(run.step, run.total_steps) if run.started_at else None,
        )

    def _missing(self, ref: RunRef) -> Observation:
        """A run that no page had: new runs are listed late, so only a not-found for its id proves it gone."""
        try:
            return self._observation(api.run(self._http, ref.remote_id or "", operation="observe"))
        except RunNotFoundError:
            return Observation(RunState.ABSENT, "not found", self._clock.now(), detail="acme does not know the run")

    def _state(self, word: str) -> RunState:
        if word not in _STATES:
            log.warning("unknown status", provider=self.name, status=word)
        return _STATES.get(word, RunState.UNKNOWN)

    def _download(self, run_id: str, name: str, digest: FileDigest, dest: Path) -> None:
        part = dest / f"{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        api.download(self._http, run_id, name, part)
        if not is_whole(part, digest):
            part.unlink()
            raise ArtifactError(f"{name} of run {run_id} is not the file that the trainer wrote: its SHA-256 differs")
        part.replace(dest / name)

    def _measured(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        rate, period = last_rate(history), paid_time(history)
        return (_time_item(ref, rate, period),) if rate is not None and period is not None else ()

    def _id(self, ref: RunRef, operation: str) -> str:
        """acme's id of the run, looked up by the key where it was lost."""
        self._check_account(ref)
        if ref.remote_id:
            return ref.remote_id
        for found in self.find([ref.key]).get(ref.key, ()):
            return found.remote_id or ""
        raise RunNotFoundError(f"acme has no run {ref.key}", provider=self.name, operation=operation)

    def _ref(self, run: api.Run) -> RunRef:
        return RunRef(self.name, self._own_account(), run.tag, run.id)

    def _own_account(self) -> str:
        """Asked once: a key does not change its account."""
        if self._account is None:
            self._account = self.check().id
        return self._account

    def _check_account(self, *refs: RunRef) -> None:
        """A run of another account is not missing: we hold the wrong key."""
        for ref in refs:
            if ref.account != self._own_account():
                raise CredentialsError(
                    f"run {ref.key} lives in acme's account {ref.account!r}, the API key opens {self._own_account()!r}",
                    hint=f"set {KEY_VARIABLE} to a key of {ref.account!r}, then run `ftorch doctor`",
                )


def _time_item(ref: RunRef, rate: Decimal, period: Window) -> LineItem:
    return LineItem(
        source=SpendSource.MEASURED_TIME,
        source_ref=f"{ref.key}/time",
        kind=EntryKind.PROVISIONAL,
        amount=time_charge(rate, period),
        quantity=period.seconds,
        unit="second",
        unit_price=rate / 3600,
        period=period,
        as_of=period.end,
        description=f"time that we saw run {ref.key} on acme, at {rate} USD per hour",
        run_key=ref.key,
    )
