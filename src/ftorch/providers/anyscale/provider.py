"""The provider `anyscale`: runs are jobs on clusters of their own, a run's key is the job's name and its tag."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import (
    ArtifactError,
    CredentialsError,
    RunNotFoundError,
    RunRejectedError,
)
from ftorch.core.ids import installation_of
from ftorch.costs.items import LineItem, Quote, Window
from ftorch.manifest.plan import Plan
from ftorch.providers.anyscale import api, bills, logs, machines, orders, records, storage, watching
from ftorch.providers.anyscale.answers import Job
from ftorch.providers.anyscale.capabilities import CAPABILITIES, CREATE_TIMEOUT_S
from ftorch.providers.anyscale.charging import Charging
from ftorch.providers.anyscale.directory import Directory
from ftorch.providers.anyscale.settings import TOKEN_VARIABLE, Settings, cookie
from ftorch.providers.anyscale.watching import Watching
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
    Staged,
)
from ftorch.providers.http import Http
from ftorch.providers.ray_jobs import artifact
from ftorch.providers.ray_jobs.package import Layout, content_sha256, package
from ftorch.providers.ray_jobs.store import UriFiles, check_uri

_TIMEOUT_S = 30.0


class AnyscaleProvider:
    """Trains at Anyscale."""

    name: ClassVar[str] = "anyscale"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._directory = Directory(http, clock)
        self._watching = Watching(http, clock)
        self._charging = Charging(http, self._directory, clock)
        self._account: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads ANYSCALE_CLI_TOKEN, else the login file, and, if set, ANYSCALE_HOST. Sends nothing."""
        settings, clock = Settings.from_env(env), clock or SystemClock()
        http = Http(
            cls.name,
            settings.host,
            clock=clock,
            key=settings.token,
            key_variable=TOKEN_VARIABLE,
            authorized=cookie,
            timeout_s=_TIMEOUT_S,
            create_timeout_s=CREATE_TIMEOUT_S,
        )
        return cls(http, clock)

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """The GPUs that the plan accepts, at the prices of the book."""
        orders.check(plan)
        return machines.placements(plan)

    def check(self) -> Account:
        """The organisation that the token belongs to: it pays, and everybody in it sees its jobs."""
        found = api.organisations(self._http)
        if not found:
            raise CredentialsError(f"{TOKEN_VARIABLE} belongs to no organisation of anyscale")
        return Account(found[0].id, found[0].name or found[0].id)

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Resolve every name, and upload the package once by its content."""
        orders.check(plan)
        uri = orders.output_uri(plan)
        self._check_readable(uri)
        place = self._directory.place(plan)
        file_name = f"pkg_{content_sha256(bundle)[:32]}.zip"
        there = api.presigned(self._http, place.cloud.id, file_name)
        if not there.file_exists:
            with tempfile.TemporaryDirectory(prefix=".anyscale-", dir=bundle.folder.parent) as folder:
                packed = package(bundle, Path(folder), provider=self.name, layout=Layout.ONE_TOP_FOLDER)
                storage.put(there, packed.path)
        return Staged(
            ready=True,
            bundle_sha256=bundle.sha256,
            detail={
                orders.WORKING_DIR: there.file_uri,
                orders.CLOUD: place.cloud.id,
                orders.PROJECT: place.project_id,
                orders.BUILD: place.build_id,
                orders.OUTPUT: uri,
                orders.MACHINES: orders.HOSTED if place.cloud.is_aioa else orders.OWN,
            },
        )

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: Anyscale names no price beforehand."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """The GPUs that the plan accepts, cheapest first; Anyscale tells no prices, so they are those of the book."""
        return self.listed(plan)

    def submit(self, order: RunOrder) -> RunRef:
        """One create. Anyscale starts the job by itself, and makes a second one of the same order without a word."""
        account = self._own_account()  # asked before, so that nothing can fail between the answer and the ref
        body = orders.create_body(order, self._directory.compute(order.placement, order.staged.detail[orders.CLOUD]))
        job = api.create_job(self._http, body, send_before=order.send_before)
        return RunRef(self.name, account, order.key, job.id, order.staged.detail[orders.OUTPUT])

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Nothing to do: create already starts."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """By tag, twenty keys in a request."""
        found: dict[str, list[RunRef]] = {}
        for job in watching.jobs(api.records_of_keys(self._http, keys, operation="find")) if keys else ():
            if job.name in keys:
                found.setdefault(job.name, []).append(self._ref(job))
        return found

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One list of what has not ended; a run that is not in it is asked for by its id."""
        self._check_account(*refs)
        return self._watching.observe(refs)

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What was printed since the cursor."""
        job = self._record(ref, "logs")
        is_over = records.state(job) in ENDED
        if job.last_job_run_id is None:
            return LogPage((), cursor, is_over)
        lines, after, is_last = logs.page(self._http, job.last_job_run_id, logs.Cursor.parse(cursor), is_over=is_over)
        return LogPage(lines, after.text if lines or cursor else None, is_last)

    def cancel(self, ref: RunRef) -> None:
        """Ask for the end of the job. Harmless when it has ended or is gone."""
        with suppress(RunNotFoundError):
            self._terminate(self._record(ref, "cancel"))

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Download the adapter from `output_uri`, file by file, going on where it was cut."""
        job = self._record(ref, "fetch")
        if records.state(job) not in ENDED:
            raise ArtifactError(f"run {ref.key} has no adapter: anyscale says {job.state.current_state}")
        files = watching.files(job, ref)
        if files is None:
            raise ArtifactError(
                f"nothing says where job {job.id} has left its adapter: its description at anyscale was changed"
            )
        return artifact.fetch(files, ref.key, dest, self.name)

    def release(self, ref: RunRef) -> bool:
        """Proven when the job has ended or is gone: its cluster ends with it. One that lives is terminated first."""
        try:
            job = self._record(ref, "release")
        except RunNotFoundError:
            return True
        if records.state(job) in ENDED:
            return True
        self._terminate(job)
        return False

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """The bill's rows of the job, once they hold all of it; before that measured time at the listed price.

        In a cloud of the user's own both: the machines' measured time, and the rows as the fee on top of it.
        """
        try:
            job = self._record(ref, "charges")
        except RunNotFoundError:
            return self._charging.of_deleted(ref, history)
        return self._charging.of_job(job, ref.key, history)

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All jobs that carry the installation's tag."""
        for job in watching.jobs(api.records_of_installation(self._http, installation, operation="owned")):
            if installation_of(job.name) == installation:
                yield self._ref(job)

    def line_items(self, window: Window) -> Iterator[LineItem]:
        """The organisation's bill by the day. Raises BillNotEnabledError where the token may not read it."""
        self.check()  # a token that is no good is another matter than one that may not read this
        return bills.line_items(self._http, window, self._charging.is_hosted, self._clock.now())

    def close(self) -> None:
        """Give back connections. Closing twice is harmless."""
        self._http.close()

    def _check_readable(self, uri: str) -> None:
        """An adapter that cannot be read from here would be paid for in vain.

        Raises RunRejectedError for a place that cannot be opened at all or is not there, CredentialsError for one that
        refuses us.
        """
        if UriFiles(uri, "ftorch-probe", self.name).read("status.json") is None:
            check_uri(uri, self.name)  # a bucket that is not there says of its files what every bucket says

    def _terminate(self, job: Job) -> None:
        if records.state(job) in ENDED:
            return
        try:
            api.terminate(self._http, job.id)
        except RunRejectedError:
            # One that has ended meanwhile refuses.
            if records.state(api.job(self._http, job.id, operation="cancel")) not in ENDED:
                raise

    def _record(self, ref: RunRef, operation: str) -> Job:
        self._check_account(ref)
        return self._watching.record(ref, operation)

    def _ref(self, job: Job) -> RunRef:
        known = records.note(job)
        return RunRef(self.name, self._own_account(), job.name, job.id, known.output_uri if known else None)

    def _own_account(self) -> str:
        """Asked once: a token does not change its organisation."""
        if self._account is None:
            self._account = self.check().id
        return self._account

    def _check_account(self, *refs: RunRef) -> None:
        """A run of another organisation is not missing: we hold the wrong token."""
        for ref in refs:
            if ref.account != self._own_account():
                raise CredentialsError(
                    f"run {ref.key} lives in anyscale's organisation {ref.account!r}, the token opens "
                    f"{self._own_account()!r}",
                    hint=f"set {TOKEN_VARIABLE} to a token of {ref.account!r}, then run `ftorch doctor`",
                )
