"""The provider `together`: runs are fine-tuning jobs of Together's, a run's key is the suffix of the model it makes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Self

import structlog

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import (
    ArtifactError,
    CredentialsError,
    ProviderUnavailableError,
    RateLimitedError,
    RunNotFoundError,
    RunRejectedError,
)
from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import LineItem, Quote, Window
from ftorch.manifest.catalogue import id_at
from ftorch.manifest.plan import Plan
from ftorch.providers.base import (
    ENDED,
    Account,
    Artifact,
    Bundle,
    Capabilities,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    RunState,
    Staged,
    StagedContent,
)
from ftorch.providers.http import Http
from ftorch.providers.together import api, bills, logs, records, staging, uploads
from ftorch.providers.together.account import account, unpaid
from ftorch.providers.together.body import ACCUMULATION, BATCH, create_body, price_body
from ftorch.providers.together.capabilities import CAPABILITIES, CREATE_TIMEOUT_S
from ftorch.providers.together.prices import minimum, token_price
from ftorch.providers.together.settings import KEY_VARIABLE, Settings

_TIMEOUT_S = 30.0
"""The list has all jobs of the organisation in one answer."""
_BAD_ENDS = (RunState.FAILED, RunState.STOPPED)

log = structlog.get_logger()


class TogetherProvider:
    """Trains at Together."""

    name: ClassVar[str] = "together"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, http: Http, clock: Clock, settings: Settings) -> None:
        self._http = http
        self._clock = clock
        self._settings = settings
        self._account: str | None = None
        self._files: dict[str, str] = {}

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads TOGETHER_API_KEY and, if set, TOGETHER_BASE_URL and TOGETHER_PROJECT_ID. Sends nothing."""
        settings, clock = Settings.from_env(env), clock or SystemClock()
        http = Http(
            cls.name,
            settings.url,
            clock=clock,
            key=settings.key,
            key_variable=KEY_VARIABLE,
            timeout_s=_TIMEOUT_S,
            create_timeout_s=CREATE_TIMEOUT_S,
        )
        return cls(http, clock, settings)

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """The one place there is, at the price of the list that we ship, where it has the model."""
        staging.check(plan)
        return (Placement(cls.name, None, token_price=token_price(plan)),)

    def check(self) -> Account:
        """The organisation that the key belongs to: it pays, and any key of it sees its jobs."""
        return account(api.whoami(self._http), self._settings)

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Upload what Together has not yet; ready when it has checked all of it."""
        staging.check(plan)
        batch = staging.batch(self._http, plan, id_at(self.name, plan.base_model.id))
        names = {role: name for role, name in staging.ROWS.items() if name in bundle.files}
        files = {role: self._file(plan, bundle, name) for role, name in names.items()}
        waiting = [name for role, name in names.items() if not staging.is_checked(files[role], bundle.folder / name)]
        return Staged(
            ready=not waiting,
            bundle_sha256=bundle.sha256,
            detail={
                **{role: file.id for role, file in files.items()},
                BATCH: str(batch.size),
                ACCUMULATION: str(batch.accumulation),
            },
            waiting_for=f"together checks {' and '.join(waiting)}" if waiting else None,
        )

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """Together's own estimate, once the rows are there; at least its minimum, which the estimate may leave out."""
        if staged is None or not staged.ready:
            return None
        estimate = api.estimate_price(self._http, price_body(plan, staged.detail))
        if estimate.allowed_to_proceed is False:
            raise unpaid(estimate)
        if not estimate.estimated_total_price:
            log.info("no quote", provider=self.name, reason=estimate.unavailable_reason)
            return None
        amount = max(minimum(), Money(estimate.estimated_total_price))
        return Quote(amount, self._clock.now(), "together's own estimate")

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """One: Together chooses the machines."""
        return self.listed(plan)

    def submit(self, order: RunOrder) -> RunRef:
        """One POST, with the run's key as suffix. Together starts the job by itself."""
        body = create_body(order)
        account = self._own_account()  # asked before, so that nothing can fail between the answer and the ref
        job = api.create_job(self._http, body, send_before=order.send_before)
        return RunRef(self.name, account, order.key, job.id)

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Nothing to do: create already starts."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """One list of all jobs, whatever the number of keys: Together has neither a filter nor pages."""
        wanted, found = set(keys), dict[str, list[RunRef]]()
        for job in self._jobs("find") if wanted else ():
            if job.suffix in wanted:
                found.setdefault(job.suffix, []).append(self._ref(job, job.suffix))
        return found

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One list for all of them; a run that is not in it is asked for by its id."""
        self._check_account(*refs)
        wanted = {ref.remote_id or ref.key: ref for ref in refs}
        seen: dict[RunRef, Observation] = {}
        for job in self._jobs("observe") if wanted else ():
            for name in (job.id, job.suffix or ""):
                if ref := wanted.pop(name, None):
                    seen[ref] = self._observation(job)
        return seen | {ref: self._missing(ref) for ref in wanted.values() if ref.remote_id}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What has happened and the losses since the cursor, in one page."""
        job_id, at = self._id(ref, "logs"), logs.Cursor.parse(cursor)
        # Asked first: what is written between the two is read with the next page.
        is_over = records.state(api.job(self._http, job_id, operation="logs")) in ENDED
        events = api.events(self._http, job_id, operation="logs")
        lines, after = logs.page(events, api.metrics(self._http, job_id, from_step=at.step), at)
        return LogPage(lines, after.text, is_over)

    def cancel(self, ref: RunRef) -> None:
        """Ask for the end of the job; its steps until then are paid. Harmless when it has ended or is gone."""
        try:
            job_id = self._id(ref, "cancel")
            self._cancel(job_id)
        except RunNotFoundError:
            return

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Download the archive, going on where it was cut, and unpack it."""
        from ftorch.providers.together.adapter import bring  # noqa: PLC0415  zstandard comes with the extra

        job = self._record(ref, "fetch")
        if records.state(job) is not RunState.SUCCEEDED:
            raise ArtifactError(f"run {ref.key} has no adapter: together says {job.status}")
        return bring(self._http, job, dest)

    def release(self, ref: RunRef) -> bool:
        """Nothing is rented: proven when the job has ended or is gone. One that lives is cancelled first."""
        try:
            job = self._record(ref, "release")
            if records.state(job) in ENDED:
                return True
            self._cancel(job.id)
        except RunNotFoundError:
            return True
        return False

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """The price in the job's record; for a job that is gone, the last one that we saw. None yet: nothing."""
        try:
            item = records.charge(self._record(ref, "charges"), ref.key)
        except RunNotFoundError:
            item = records.charge_as_seen(ref.remote_id or ref.key, ref.key, history)
        return (item,) if item else ()

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All jobs whose suffix is one of the installation's keys."""
        for job in self._jobs("owned"):
            if job.suffix and installation_of(job.suffix) == installation:
                yield self._ref(job, job.suffix)

    def line_items(self, window: Window) -> Iterator[LineItem]:
        """The organisation's bill, by the hour. Raises BillNotEnabledError where it may not be read."""
        return bills.line_items(
            self._http, window, organisation=self._own_account(), keys_of=self._keys, now=self._clock.now()
        )

    def staged_content(self) -> Iterator[StagedContent]:
        """All files of the organisation, whoever uploaded them, in one list."""
        return uploads.listed(self._http, self._clock.now())

    def discard(self, content: StagedContent) -> None:
        """Delete a file; `stage` uploads it again when it is wanted again."""
        uploads.discard(self._http, content)

    def close(self) -> None:
        """Give back connections. Closing twice is harmless."""
        self._http.close()

    def _file(self, plan: Plan, bundle: Bundle, name: str) -> api.File:
        """A file of the bundle as Together has it. It is uploaded once, and asked for from then on."""
        rows = f"{bundle.files[name]} {plan.method.type} {getattr(plan.method, 'train_on', '')}"
        if rows in self._files:
            with suppress(RunNotFoundError):
                return api.file(self._http, self._files[rows])
        from ftorch.providers.together.sdk import upload  # noqa: PLC0415  a third of a second, for this alone

        with staging.converted(plan, bundle, name) as path:
            self._files[rows] = upload(self._settings, self._clock, path)
        return api.file(self._http, self._files[rows])

    def _jobs(self, operation: str) -> list[api.Job]:
        """All jobs of the organisation, oldest first; Together lists the newest first and promises no order."""
        jobs = list(records.readable(api.records(self._http, operation=operation)))
        jobs.reverse()
        jobs.sort(key=attrgetter("created_at"))
        return jobs

    def _keys(self) -> Mapping[str, str]:
        """Job id -> run key, for jobs of any installation of ftorch."""
        return {job.id: job.suffix for job in self._jobs("line_items") if job.suffix and installation_of(job.suffix)}

    def _observation(self, job: api.Job) -> Observation:
        return records.observation(job, self._clock.now(), self._why(job))

    def _why(self, job: api.Job) -> str:
        """Why a job ended badly. The list does not say, and what cannot be had now is no reason not to have seen it."""
        if records.state(job) not in _BAD_ENDS:
            return ""
        with suppress(ProviderUnavailableError, RateLimitedError, RunNotFoundError):
            return records.why(job.events or api.events(self._http, job.id, operation="observe"))
        return ""

    def _missing(self, ref: RunRef) -> Observation:
        """A run that is not in the list: new ones are listed late, so only a not-found for its id proves it gone."""
        try:
            return self._observation(api.job(self._http, ref.remote_id or "", operation="observe"))
        except RunNotFoundError:
            return Observation(RunState.ABSENT, "not found", self._clock.now(), detail="together does not know the job")

    def _cancel(self, job_id: str) -> None:
        try:
            api.cancel_job(self._http, job_id)
        except RunRejectedError:
            # A job that has ended refuses to be cancelled.
            if records.state(api.job(self._http, job_id, operation="cancel")) not in ENDED:
                raise

    def _record(self, ref: RunRef, operation: str) -> api.Job:
        return api.job(self._http, self._id(ref, operation), operation=operation)

    def _id(self, ref: RunRef, operation: str) -> str:
        """The job's id, looked up by the key where it was lost."""
        self._check_account(ref)
        if ref.remote_id:
            return ref.remote_id
        for found in self.find([ref.key]).get(ref.key, ()):
            return found.remote_id or ""
        raise RunNotFoundError(f"together has no job {ref.key}", provider=self.name, operation=operation)

    def _ref(self, job: api.Job, key: str) -> RunRef:
        return RunRef(self.name, self._own_account(), key, job.id)

    def _own_account(self) -> str:
        """Asked once: a key does not change its organisation."""
        if self._account is None:
            self._account = self.check().id
        return self._account

    def _check_account(self, *refs: RunRef) -> None:
        """A run of another organisation is not missing: we hold the wrong key."""
        for ref in refs:
            if ref.account != self._own_account():
                raise CredentialsError(
                    f"run {ref.key} lives in together's organisation {ref.account!r}, the API key opens "
                    f"{self._own_account()!r}",
                    hint=f"set {KEY_VARIABLE} to a key of {ref.account!r}, then run `ftorch doctor`",
                )
