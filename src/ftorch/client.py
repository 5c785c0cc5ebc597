"""The Python API. The command line stands on it and adds nothing but words.

with ftorch.Client() as client:
    job = client.submit(ftorch.Manifest.from_file("support.yaml"))
    job = client.wait(job.id, timeout="4h")
    print(client.adapter(job.id).path, client.spend(job=job.id).total)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ftorch.core.clock import Clock, SteadyClock, SystemClock
from ftorch.core.errors import CredentialsError, MissingExtraError, NotFinishedError, UsageError
from ftorch.core.paths import Home
from ftorch.jobs.states import CANCELLED
from ftorch.jobs.views import (
    EventView,
    JobLine,
    JobView,
    Submitted,
    event_views,
    job_lines,
    job_views,
    pick,
)
from ftorch.manifest.places import store_url
from ftorch.store import SqliteStore, Store, Transaction, open_store
from ftorch.store.transaction import of_nothing

if TYPE_CHECKING:
    from datetime import date

    from ftorch.costs.book.listed import ListedPrice
    from ftorch.costs.compare import Comparison as SpendComparison
    from ftorch.costs.lifetime import LifetimeReport
    from ftorch.costs.report import Scope, SpendReport
    from ftorch.jobs.adapter_views import AdapterView, PromotionView
    from ftorch.jobs.adopt import Adoptable
    from ftorch.jobs.advice.decision import Decision
    from ftorch.jobs.billing.api import Billing
    from ftorch.jobs.compare import Comparison
    from ftorch.jobs.context import Context
    from ftorch.jobs.evaluate import EvaluationReport
    from ftorch.jobs.history import JobHistory
    from ftorch.jobs.plan import Resolved
    from ftorch.jobs.planner import Planner
    from ftorch.jobs.preview import PlanView
    from ftorch.jobs.reap import ReapReport
    from ftorch.manifest.evaluation import Hosted
    from ftorch.manifest.schema import Manifest
    from ftorch.notify.api import Notices
    from ftorch.providers.status import ProviderStatus
    from ftorch.schedule.api import Schedules

_POLL_S = 0.5

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Told (what, done, total) while something long is under way."""


class Client:
    """One installation of ftorch. Cheap to make: the database is opened when something needs it."""

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._env = dict(os.environ if env is None else env)
        self._cwd = cwd or Path.cwd()
        self._clock = clock or SystemClock()
        self._progress = progress or (lambda _what, _done, _total: None)
        self._context: Context | None = None
        self._store: Store | None = None
        self.home = Home.from_env(self._env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. Closing twice is harmless; jobs go on."""
        if self._context is not None:
            self._context.store.close()
        if self._store is not None:
            self._store.close()
        self._context = self._store = None

    def plan(self, manifest: Manifest | Path | str) -> PlanView:
        """Resolve a manifest: check the data, count, estimate. Writes nothing, sends nothing.

        Raises ManifestError, DataError, SettingsError (3), BudgetError (5), CredentialsError (4) or
        MissingExtraError (2).
        """
        return self._planner().view(self._resolve(manifest))

    def compare(self, manifest: Manifest | Path | str, *, live: bool = False) -> Comparison:
        """One manifest against every provider: dollars, hours, memory, what would be lost, what is refused.

        Sends nothing, unless `live`: then the providers whose credentials are set are asked what they have. Raises
        what `plan` raises about the manifest and its data.
        """
        from ftorch.jobs.compare import compare

        return compare(self._resolve(manifest, picks=False).plan, self._planner().sources(is_live=live))

    def prices(self) -> list[ListedPrice]:
        """The price book of machines: shipped lists, catalogues that were asked, `[prices]` of ftorch.toml."""
        return list(self._planner().sources().book.machines)

    def refresh_prices(self, providers: Sequence[str] = ()) -> Mapping[str, str]:
        """Ask providers with a catalogue what their machines cost now, and keep it. Reads only at the providers.

        Returns what became of each provider, in words.
        """
        from ftorch.jobs.prices import refresh

        return refresh(self.home.ensure().prices, self._credentials(), providers)

    def submit(self, manifest: Manifest | PlanView | Path | str, *, again: bool = False) -> Submitted:
        """Submit a manifest, or what `plan` made of it, unless its plan already has an open or succeeded job.

        Then that job is returned and nothing is sent.

        Returns as soon as the job is on disk; a daemon does the rest. Raises what `plan` raises, before anything is
        uploaded or spent.
        """
        from ftorch.jobs.admit import admit
        from ftorch.jobs.preview import PlanView

        view = manifest if isinstance(manifest, PlanView) else self.plan(manifest)
        context = self._opened()
        # Opened as the daemon will open it: a missing package or credential is said here, not an hour later.
        context.open_provider(view.provider)
        context.secrets(view.plan)
        admitted = admit(context, view.resolved, view.estimate, again=again)
        if admitted.job.ended_at is None:
            self.ensure_daemon()
        return Submitted(self.job(admitted.job.id), admitted.is_new)

    def wait(
        self,
        job: str,
        *,
        timeout: str | float | None = None,
        on_change: Callable[[JobView, Sequence[EventView]], None] | None = None,
    ) -> JobView:
        """Wait until the job has ended. Starts the daemon when none is at work, also after it was killed.

        Raises NotFinishedError after `timeout` (seconds, or text such as `4h`) and for a job that waits for a person.
        """
        from ftorch.jobs.waiting import wait

        store = self._readable()
        return wait(
            store,
            self._clock,
            pick(store, job).id,
            timeout=timeout,
            on_change=on_change or (lambda _view, _events: None),
            wake=self.ensure_daemon,
        )

    def jobs(self) -> list[JobView]:
        """All jobs, newest first. Empty when nothing was ever submitted."""
        store = self._existing()
        return job_views(store, store.jobs()) if store else []

    def job_lines(self) -> list[JobLine]:
        """All jobs, newest first, as the table shows them: quick also where there are ten thousand."""
        store = self._existing()
        return job_lines(store) if store else []

    def job(self, job: str) -> JobView:
        """One job, by id, unique prefix or manifest name."""
        store = self._readable()
        return job_views(store, [pick(store, job)])[0]

    def events(self, job: str) -> list[EventView]:
        """The job's history, oldest first."""
        store = self._readable()
        return event_views(store.events_of(pick(store, job).id))

    def history(self, job: str) -> JobHistory:
        """Everything that is known about one job: its runs, events, charges and evaluations."""
        from ftorch.jobs.history import job_history

        store = self._readable()
        return job_history(store, pick(store, job))

    def cancel(self, job: str) -> JobView:
        """Ask for the job to be stopped. Returns at once; the daemon cancels and proves it. Twice is harmless."""
        from ftorch.jobs.admit import ask_cancel

        row = ask_cancel(self._opened(), pick(self._readable(), job).id)
        runs = self._readable().runs_of(row.id)
        if row.ended_at is None or (row.desired == CANCELLED and any(run.released_at is None for run in runs)):
            self.ensure_daemon()
        return self.job(row.id)

    def retry(self, job: str) -> JobView:
        """Reopen a job that ended badly: one more run, going on from its last checkpoint."""
        from ftorch.jobs.admit import ask_retry

        row = ask_retry(self._opened(), pick(self._readable(), job).id)
        self.ensure_daemon()
        return self.job(row.id)

    def adoptable(self, installation: str | None = None) -> list[Adoptable]:
        """Runs at the configured providers with an installation's mark, ours by default, that no job here knows."""
        from ftorch.jobs.adopt import adoptable
        from ftorch.providers.registry import entries

        context = self._opened()
        found: list[Adoptable] = []
        for name in entries():
            with suppress(CredentialsError, MissingExtraError):
                found += adoptable(context, context.open_provider(name), installation)
        return found

    def adopt(self, key: str, manifest: Manifest | Path | str) -> JobView:
        """Make a job of a run that is still at its provider, after its database was lost. The daemon goes on with it.

        Raises UsageError for a key that has a job, is another installation's, or is at none of the manifest's
        providers, and what `plan` raises.
        """
        from ftorch.jobs.adopt import adopt

        job = adopt(self._opened(), self._resolve(manifest), key)
        # The database may have another mark now.
        self.close()
        self.ensure_daemon()
        return self.job(job.id)

    def reap(self, providers: Sequence[str] = (), *, yes: bool = False) -> ReapReport:
        """Runs that cost money and that no job answers for, at these providers or at all that are configured.

        Reads only, unless `yes`: then they are cancelled, released and booked, minutes each at most.
        """
        from ftorch.jobs.reap import reap
        from ftorch.providers.registry import entries

        return reap(self._opened(), providers or list(entries()), is_asked=bool(providers), yes=yes)

    def diff(self, left: str, right: str) -> list[tuple[str, str, str]]:
        """The keys in which two jobs' plans differ."""
        from ftorch.jobs.admit import compare_plans
        from ftorch.jobs.kept_plan import kept_plan

        store = self._readable()
        plans = [kept_plan(store, pick(store, job).id) for job in (left, right)]
        return compare_plans(plans[0], plans[1])

    def logs(self, job: str, *, follow: bool = False) -> Iterator[str]:
        """The log lines of the job's newest run; with `follow`, until the run has ended."""
        from ftorch.jobs.serial import ref

        runs = self._readable().runs_of(pick(self._readable(), job).id)
        if not runs:
            raise NotFinishedError(f"job {job} has no run yet", hint=f"run `ftorch wait {job}`")
        provider = self._opened().open_provider(runs[-1].provider)
        cursor: str | None = None
        while True:
            page = provider.logs(ref(runs[-1]), cursor=cursor)
            yield from page.lines
            is_all = cursor == page.cursor and not page.lines
            cursor = page.cursor
            if page.is_last or (is_all and not follow):
                return
            if not page.lines:
                self._clock.sleep(_POLL_S)

    def adapters(self) -> list[AdapterView]:
        """All adapters that came home, newest first."""
        from ftorch.jobs.adapter_views import adapter_views

        store = self._existing()
        return adapter_views(store) if store else []

    def adapter(self, reference: str) -> AdapterView:
        """The adapter of a job, of `name/3`, or the one in service, `name@latest`.

        Raises NotFinishedError where there is none.
        """
        from ftorch.jobs.adapter_views import adapter_view

        return adapter_view(self._readable(), reference)

    def promote(self, adapter: str, *, note: str = "") -> AdapterView:
        """Put a version, `name/3` or a job's, into service, whatever a gate said. Its files are checked first."""
        from ftorch.jobs.serving import label
        from ftorch.jobs.versions import promote

        return self.adapter(label(promote(self._opened(), adapter, note=note)))

    def rollback(self, name: str, *, to: int | None = None, note: str = "") -> AdapterView:
        """Go back to the version that was in service before, or to number `to`; its bytes are checked first.

        Raises UsageError where there is nothing to go back to, ArtifactError where its files were changed.
        """
        from ftorch.jobs.serving import label
        from ftorch.jobs.versions import roll_back

        return self.adapter(label(roll_back(self._opened(), name, to=to, note=note)))

    def promotions(self, name: str) -> Sequence[PromotionView]:
        """Which versions of a name were in service since when, and why, oldest first."""
        from ftorch.jobs.adapter_views import promotions

        return promotions(self._readable(), name)

    def verify(self, adapter: str) -> AdapterView:
        """Repeat the checks of an adapter's receipt, offline. `adapter` is a job or a folder. Raises ArtifactError."""
        from ftorch.jobs.adapter_views import AdapterView
        from ftorch.jobs.receipt import verify

        folder = Path(adapter)
        if not folder.is_dir():
            folder = self.adapter(adapter).path
        receipt = verify(folder)
        return AdapterView(receipt["job"], receipt["name"], folder, receipt)

    def evaluate(
        self,
        subject: str,
        *,
        against: Sequence[str] = (),
        hosted: Hosted | None = None,
        scores: Path | None = None,
    ) -> EvaluationReport:
        """Judge an adapter on its job's held-out rows, and keep the report with the job.

        `subject` is a job, an adapter's folder, or a manifest, whose `eval` then counts. `against`: base, hosted, or
        adapters; what `eval.compare_to` says when empty. `hosted` says where the hosted model answers, `scores` is a
        file with answers that it gave elsewhere. Models on this machine answer here, now: minutes.

        Raises DataError, ArtifactError, UsageError, CredentialsError, BudgetError, ProviderError or NotFinishedError;
        what was answered until then is kept.
        """
        from ftorch.jobs.admit import adapter_folder
        from ftorch.jobs.evaluate import ask, evaluate

        store = self._readable()
        asked = ask(store, subject, self._cwd, against=against, hosted=hosted, scores=scores)
        return evaluate(
            self._opened(), asked, lambda reference: adapter_folder(store, reference, self._cwd), self._progress
        )

    def prompts(self, subject: str) -> list[dict[str, object]]:
        """The held-out rows of a job without their answers: {row_sha256, messages}, for a tool that answers them."""
        from ftorch.jobs.evaluate import prompts
        from ftorch.jobs.subject import subject as find

        return prompts(find(self._readable(), subject, self._cwd))

    def lifetime(self, subject: str, *, start: date | None = None) -> LifetimeReport:
        """Does the fine-tune pay? `subject` is a manifest or a job; `start` is when it begins, today when not given.

        Raises ManifestError or UsageError where no `lifetime` says volume and prices, or a hosted model has no price,
        DataError for logs that cannot be read.
        """
        from ftorch.jobs.pays import lifetime_of

        begin = start or self._clock.now().date()
        return lifetime_of(self._existing(), subject, self._cwd, start=begin, own_prices=self._planner().own_prices())

    def decide(self, subject: str, *, start: date | None = None) -> Decision:
        """Fine-tune, prompt, retrieve, or do not? `subject` is a manifest or a job.

        From evaluations kept with the job, from the lifetime, and from what `task` in the manifest states. Sends
        nothing. Raises ManifestError, UsageError or DataError for what cannot be read or has no price.
        """
        from ftorch.jobs.advice.decision import decide

        begin = start or self._clock.now().date()
        return decide(self._existing(), subject, self._cwd, start=begin, own_prices=self._planner().own_prices())

    @property
    def bill(self) -> Billing:
        """Bills: `pull`, `status`, `explain`, `assign`, `import_invoice`, `close`."""
        from ftorch.jobs.billing.api import Billing

        return Billing(self._opened, self._existing)

    @property
    def schedules(self) -> Schedules:
        """Schedules: `add`, `list`, `show`, `pause`, `resume`, `trigger`, `remove`, `next`."""
        from ftorch.schedule.api import Schedules

        return Schedules(self._opened, self._existing, self._cwd)

    @property
    def notices(self) -> Notices:
        """What people are told: `list`, `test`."""
        from ftorch.notify.api import Notices

        return Notices(self._opened, self._existing, self._cwd, self._env)

    def spend(
        self,
        *,
        by: str = "name",
        job: str | None = None,
        month: str | None = None,
        as_of: str | None = None,
        timezone: str = "UTC",
    ) -> SpendReport:
        """What was spent, from the ledger: by job, name, provider, model, method, owner, state, month or label:KEY.

        `as_of`, a date or moment, repeats the report of that time. Months are those of the time zone.
        """
        from ftorch.costs.report import spend_report

        return self._asked(
            lambda tx, scope: spend_report(tx, scope, by=by, timezone=timezone), job, month, as_of, timezone
        )

    def compare_spend(
        self, month: str, against: str, *, as_of: str | None = None, timezone: str = "UTC"
    ) -> SpendComparison:
        """Why a month cost more than another: volume, price, waste and new jobs, which add up to the difference."""
        from ftorch.costs.compare import compare
        from ftorch.costs.months import Month, time_zone

        zone = time_zone(timezone)
        months = Month.parse(month, zone), Month.parse(against, zone)
        return self._asked(lambda tx, scope: compare(tx, scope, *months), None, None, as_of, timezone)

    def focus(
        self,
        *,
        version: str = "1.2",
        month: str | None = None,
        as_of: str | None = None,
        for_validator: bool = False,
    ) -> Iterator[Mapping[str, str]]:
        """What was spent as rows of a FOCUS dataset, version 1.0 or 1.2. Billing periods are months of UTC."""
        from ftorch.costs.focus import focus_rows

        rows = self._asked(
            lambda tx, scope: focus_rows(tx, scope, version=version, for_validator=for_validator),
            None,
            month,
            as_of,
            "UTC",
        )
        yield from rows

    def ledger(self) -> Sequence[Any]:
        """Every entry of the ledger, oldest first."""
        store = self._existing()
        return store.ledger() if store else ()

    def ensure_daemon(self, *, until_idle: bool = True) -> bool:
        """Start a daemon in a session of its own, unless one is at work; by itself it leaves when nothing is left.

        True: started. Without `until_idle` it is waited for until it has begun, and one that would leave is asked to
        stay; raises NotFinishedError when none has begun.
        """
        from ftorch.jobs.leader import is_led
        from ftorch.jobs.starting import ensure_stays, spawn

        start = partial(spawn, self.home, self._env, self._cwd, until_idle=until_idle)
        if not until_idle:
            return ensure_stays(self.home, start)
        if is_led(self.home):
            return False
        start()
        return True

    def provider_names(self) -> list[str]:
        """All providers that there are, and those that ftorch names but this version has not."""
        from ftorch.providers.status import provider_names

        return provider_names()

    def provider_status(self, name: str) -> ProviderStatus:
        """What is installed and set for a provider. Sends nothing."""
        from ftorch.manifest.credentials import environment
        from ftorch.providers.status import provider_status

        return provider_status(name, environment(self._env, self._cwd))

    def check_provider(self, name: str) -> str:
        """Ask a provider whose account the credentials are. Reads only; raises what the provider raises."""
        from ftorch.providers.registry import open_provider

        provider = open_provider(name, self._credentials())
        try:
            account = provider.check()
        finally:
            provider.close()
        return f"{account.id}, {account.description}"

    def check_database(self) -> str:
        """Open the database, if there is one; raises StoreError when it cannot be used."""
        store = self._existing()
        return f"{store.name}, {len(store.jobs())} jobs" if store else "none yet"

    def credential_warnings(self) -> Sequence[str]:
        """What is unsafe about where credentials lie, such as a `.env` that others can read."""
        from ftorch.manifest.credentials import environment

        return environment(self._env, self._cwd).warnings

    def context(self) -> Context:
        """What the engine works with: `ftorch daemon run` hands it to the daemon. Its clock does not jump."""
        from ftorch.jobs.caps import with_defaults
        from ftorch.manifest.settings import load_settings

        caps = with_defaults(load_settings(self._cwd, self._env).caps)
        return replace(self._opened(), caps=caps)

    def _asked(
        self,
        answer: Callable[[Transaction, Scope], T],
        job: str | None,
        month: str | None,
        as_of: str | None,
        timezone: str,
    ) -> T:
        """Put a question about spend to the ledger, which is empty where nothing was ever stored."""
        from ftorch.jobs.billing.reports import scope

        store = self._existing()
        job_id = pick(self._readable(), job).id if job else None
        asked = scope(month=month, as_of=as_of, timezone=timezone, job_id=job_id, now=self._clock.now())
        return answer(store.read() if store else of_nothing(), asked)

    def _resolve(self, manifest: Manifest | Path | str, *, picks: bool = True) -> Resolved:
        asked = (self._cwd / manifest).absolute() if isinstance(manifest, Path | str) else manifest
        return self._planner().resolve(asked, picks=picks)

    def _planner(self) -> Planner:
        from ftorch.jobs.planner import Planner

        return Planner(self._env, self._cwd, self.home, self._existing(), self._clock, self._progress)

    def _credentials(self) -> Mapping[str, str]:
        from ftorch.manifest.credentials import environment

        return environment(self._env, self._cwd).mapping()

    def _opened(self) -> Context:
        if self._context is None:
            from ftorch.jobs.opening import open_context

            self._context = open_context(self._env, self._cwd, SteadyClock(self._clock))
        return self._context

    def _existing(self) -> Store | None:
        """The store for reading, or None when nothing was ever stored."""
        if self._store is None:
            url = store_url(self._cwd, self._env)
            self._store = open_store(url) if url else SqliteStore.open_existing(self.home.database)
        return self._store

    def _readable(self) -> Store:
        store = self._existing()
        if store is None:
            raise UsageError(f"nothing was ever submitted in {self.home.root}", hint="run `ftorch submit MANIFEST`")
        return store
