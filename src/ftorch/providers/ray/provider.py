"""The provider `ray`: one job of Ray per run, under the run's key, on a cluster of the user's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.errors import (
    CredentialsError,
    ProviderUnavailableError,
    RunNotFoundError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.core.ids import installation_of
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem, Quote
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
    Staged,
)
from ftorch.providers.http import Http
from ftorch.providers.ray import api, orders, readings
from ftorch.providers.ray.capabilities import CAPABILITIES, CREATE_S
from ftorch.providers.ray.cost import charge
from ftorch.providers.ray.log import KeptLogs, page
from ftorch.providers.ray.settings import ADDRESS_VARIABLE, TOKEN_VARIABLE, Settings
from ftorch.providers.ray.watching import Watching, files
from ftorch.providers.ray_jobs import artifact, contract
from ftorch.providers.ray_jobs.package import package
from ftorch.providers.ray_jobs.store import check_uri


class RayProvider:
    """Trains on a Ray cluster."""

    name: ClassVar[str] = "ray"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, http: Http, address: str, home: Home, clock: Clock) -> None:
        self._http = http
        self._address = address
        self._watching = Watching(http, clock)
        self._kept = KeptLogs(home.root / "ray" / "logs")

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads RAY_ADDRESS and, where the cluster wants one, a token. Sends nothing."""
        settings, clock = Settings.from_env(env), clock or SystemClock()
        http = Http(
            cls.name,
            settings.address,
            clock=clock,
            key=settings.token,
            key_variable=TOKEN_VARIABLE,
            create_timeout_s=CREATE_S,
        )
        return cls(http, settings.address, Home.from_env(env), clock)

    def check(self) -> Account:
        """The cluster is its address: after a new start of the head it is the same account, without its jobs."""
        told = api.version(self._http, "check")
        return Account(self._address, f"Ray {told.ray_version} at {self._address}")

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Pack the bundle beside its rows and send it, unless the cluster has it."""
        contract.check(plan, self.name)
        output_uri = orders.options(plan).get("output_uri")
        if output_uri:
            check_uri(output_uri, self.name)
        elif plan.resources.workers > 1:
            self._check_one_node()
        packed = package(bundle, bundle.folder.with_name("packages"), provider=self.name)
        uri = f"gcs://_ray_pkg_{packed.sha256[:32]}.zip"
        self._bring(uri, packed.path)
        detail = {orders.PACKAGE: str(packed.path), orders.URI: uri, orders.OUTPUT_URI: output_uri or ""}
        return Staged(True, bundle.sha256, detail)

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: a cluster of one's own names no price."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """One: the cluster, at the rate of `ftorch.toml`."""
        return self.listed(plan)

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """The same: nobody has to be asked."""
        rate = plan.declared_rates.get(cls.name)
        return (Placement("the cluster", rate.amount if rate else None),)

    def submit(self, order: RunOrder) -> RunRef:
        """Ask for the key, bring the package, create. A job that is there already is the same run."""
        ref = self._ref(order.key, api.version(self._http, "submit").session_name)
        if api.job(self._http, order.key, "submit") is not None:
            return ref
        self._bring(order.staged.detail[orders.URI], Path(order.staged.detail[orders.PACKAGE]))
        try:
            api.create(self._http, orders.new_job(order), order.send_before)
        except SubmitUnknownError as error:
            if " with 500;" not in error.message:
                raise
            self._refused_with_500(order.key, error)
        return ref

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Nothing to do: create already starts."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """The jobs under these keys. The key is the job's id, so there is one at most."""
        if not keys:
            return {}
        there = self._watching.jobs(keys, "find")
        session = api.version(self._http, "find").session_name
        return {key: [self._ref(key, session)] for key in there}

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """Single questions for a few runs, one list for many. Of a job that has ended its folder is read, once."""
        self._check_account(*refs)
        return self._watching.observe(refs) if refs else {}

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What the job has printed from byte `cursor` on.

        What we have kept is all of it. A job that comes back after it was deleted has an empty log.
        """
        self._check_account(ref)
        kept = self._kept.read(ref.key)
        if kept is not None:
            return page(kept, cursor, is_over=True)
        job = api.job(self._http, ref.key, "logs")
        if job is None:
            raise self._not_found(ref.key, "logs")
        text = api.logs(self._http, ref.key, "logs") or ""
        return page(text, cursor, is_over=readings.state_of(job) in ENDED)

    def cancel(self, ref: RunRef) -> None:
        """Ask for the end. A job that waits for the cluster goes on waiting: Ray ends it when its turn comes."""
        self._check_account(ref)
        try:
            api.stop(self._http, ref.key)
        except RunNotFoundError:
            return

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Bring the adapter from the run's output_uri, or from the logs of the node that trained it."""
        self._check_account(ref)
        job = api.job(self._http, ref.key, "fetch")
        if job is None:
            raise self._not_found(ref.key, "fetch")
        return artifact.fetch(files(self._http, job, "fetch"), ref.key, dest, self.name)

    def release(self, ref: RunRef) -> bool:
        """Drop the record of an ended job, after its log is kept here; true once it is seen to be gone.

        A job that was stopped a moment ago comes back when it is deleted too early: then it is deleted again.
        """
        self._check_account(ref)
        job = api.job(self._http, ref.key, "release")
        if job is None:
            return True
        if readings.state_of(job) not in ENDED:
            return False
        if self._kept.read(ref.key) is None:
            self._kept.keep(ref.key, api.logs(self._http, ref.key, "release") or "")
        self._delete(ref.key)
        return False

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """The run's time at the declared rate; nothing where none was declared.

        A run that is gone with its session is charged to the last moment at which it was seen, not to the one at which
        it was missed.
        """
        self._check_account(ref)
        job = api.job(self._http, ref.key, "charges")
        return charge(ref, [*history, *([self._watching.look(job)] if job else [])])

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All jobs of the session whose id is one of the installation's keys."""
        jobs = api.jobs(self._http, "owned")
        session = api.version(self._http, "owned").session_name
        for job in jobs:
            if job.submission_id and installation_of(job.submission_id) == installation:
                yield self._ref(job.submission_id, session)

    def close(self) -> None:
        """Give back connections. Closing twice is harmless."""
        self._http.close()

    def _check_one_node(self) -> None:
        """The run's folder is read where its driver is, and the workers write it where they are."""
        if (count := api.nodes(self._http)) > 1:
            raise RunRejectedError(
                f"the cluster has {count} nodes, and workers may be on another than the driver of their job",
                provider=self.name,
                operation="stage",
                hint="name a storage that all of them reach: `provider: {name: ray, ray: {output_uri: s3://BUCKET/PREFIX}}`",
            )

    def _bring(self, uri: str, file: Path) -> None:
        """Ray drops a package that no job has used for ten minutes, and all of them when the head starts anew."""
        if api.has_package(self._http, uri):
            return
        if not file.exists():
            raise RunRejectedError(
                f"the package of the job is no longer in {file.parent}",
                provider=self.name,
                operation="submit",
                hint="run `ftorch submit MANIFEST --again`",
            )
        api.send_package(self._http, uri, file)

    def _refused_with_500(self, key: str, error: SubmitUnknownError) -> None:
        """Ray answers 500 to an id that it has, and to much else; asked for the id, it tells which of both it was."""
        if api.job(self._http, key, "submit") is None:
            raise ProviderUnavailableError(
                f"ray could not start the job: {_last_line(error.message)}", provider=self.name, operation="submit"
            ) from error

    def _delete(self, key: str) -> None:
        try:
            api.delete(self._http, key)
        except RunNotFoundError:
            return

    def _ref(self, key: str, session: str) -> RunRef:
        return RunRef(self.name, self._address, key, key, session)

    def _check_account(self, *refs: RunRef) -> None:
        for ref in refs:
            if ref.account != self._address:
                raise CredentialsError(
                    f"run {ref.key} lives on the cluster at {ref.account}, {ADDRESS_VARIABLE} names {self._address}",
                    hint=f"set {ADDRESS_VARIABLE} to {ref.account}, then run `ftorch doctor`",
                )

    def _not_found(self, key: str, operation: str) -> RunNotFoundError:
        return RunNotFoundError(f"the cluster has no run {key}", provider=self.name, operation=operation)


def _last_line(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip(" .")]
    return lines[-1].strip() if lines else words
