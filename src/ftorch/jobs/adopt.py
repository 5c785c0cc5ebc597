"""After a lost database: a run that is still at its provider becomes a job again, with its manifest as its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ftorch.core.errors import NotFinishedError, UsageError
from ftorch.core.ids import installation_of
from ftorch.jobs.admit import job_row
from ftorch.jobs.allowance import bound
from ftorch.jobs.bundle import make_bundle
from ftorch.jobs.context import Context
from ftorch.jobs.leader import is_led
from ftorch.jobs.plan import Resolved
from ftorch.jobs.serial import placement_text, staged_text
from ftorch.jobs.states import JobState, Purpose
from ftorch.jobs.strays import ours, rows_of
from ftorch.jobs.submit import insert_duplicate
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Capabilities, Placement, Provider, RunRef, RunState, Staged
from ftorch.store import JobRow, RunRow, Transaction, sql

_STAGE_TRIES = 60
_STAGE_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Adoptable:
    """A run at a provider that carries an installation's mark and that no row here knows."""

    provider: str
    account: str
    key: str
    remote_id: str | None
    place: str | None
    state: str


def adoptable(context: Context, provider: Provider, installation: str | None = None) -> list[Adoptable]:
    """What could be adopted at a provider. Reads only."""
    refs = [ref for ref in ours(context, provider, installation) if not rows_of(context, ref.key)]
    seen = provider.observe(refs)
    return [
        Adoptable(ref.provider, ref.account, ref.key, ref.remote_id, ref.place, seen[ref].state.value)
        for ref in refs
        if ref in seen and seen[ref].state is not RunState.ABSENT
    ]


def adopt(context: Context, resolved: Resolved, key: str) -> JobRow:
    """Insert the job and the run that is at work under `key`, so that the engine goes on with it.

    A database without jobs becomes that of the key's installation. Nothing is created at the provider; the training
    rows are staged once more, which changes nothing where they are still there.
    """
    mark = _check(context, key)
    plan = resolved.plan
    provider, found = _find(context, plan, key)
    folder = resolved.freeze(context.home)
    staged = _staged(context, provider, plan, folder)
    text = staged_text(staged, context.account(provider.name))
    new = job_row(context, resolved, folder)
    job = replace(new, provider=provider.name, state=JobState.SUBMITTING, staged=text)
    placement = _placement(provider, plan, found[0])

    def change(tx: Transaction) -> None:
        if mark != (tx.scalar(sql.GET_META, key=sql.INSTALLATION) or context.installation):
            # Asked again here: somebody may have submitted meanwhile, and his runs carry the mark that is there.
            _check_no_jobs(tx, key, mark, context.installation)
            tx.put_meta(sql.INSTALLATION, mark)
        tx.insert_job(job, plan.to_json())
        tx.add_event(context.event(job.id, None, "submitted", str(resolved.manifest_path)))
        run = _run_row(context, tx, job, plan, placement, provider.capabilities, found[0])
        tx.insert_run(run)
        tx.add_event(context.event(job.id, key, "adopted", f"{found[0].remote_id or key} at {provider.name}"))
        for count, duplicate in enumerate(found[1:], start=2):
            insert_duplicate(context, tx, run, duplicate, count)

    context.store.write(change)
    return job


def _check(context: Context, key: str) -> str:
    """The installation that the key belongs to. Raises UsageError when it is not ours to adopt."""
    mark = installation_of(key)
    if mark is None:
        raise UsageError(f"{key!r} is no run key", hint="it looks like ft-abc123-... ; run `ftorch jobs adopt`")
    if (row := context.store.run(key)) is not None:
        raise UsageError(f"run {key} has its job already: {row.job_id}", hint=f"run `ftorch wait {row.job_id}`")
    if mark == context.installation:
        return mark
    _check_no_jobs(context.store.read(), key, mark, context.installation)
    if is_led(context.home):
        raise UsageError(
            "a daemon is at work with this database, under the mark that it has now",
            hint="run `ftorch daemon stop`, then adopt",
        )
    return mark


def _check_no_jobs(tx: Transaction, key: str, mark: str, ours: str) -> None:
    if tx.scalar(sql.count("jobs")):
        raise UsageError(
            f"run {key} belongs to the installation {mark}; this one is {ours} and has jobs of its own",
            hint="set FTORCH_HOME to an empty folder and adopt it there",
        )


def _find(context: Context, plan: Plan, key: str) -> tuple[Provider, Sequence[RunRef]]:
    """Where the run is, among the manifest's providers. Raises UsageError when it is at none of them."""
    for name in plan.providers:
        provider = context.open_provider(name)
        if found := provider.find([key]).get(key):
            return provider, found
    raise UsageError(
        f"no run {key} at {', '.join(plan.providers)}",
        hint="run `ftorch jobs adopt --installation ID` to see those that there are",
    )


def _staged(context: Context, provider: Provider, plan: Plan, folder: Path) -> Staged:
    """What a start or a later run of the job needs at the provider."""
    bundle = make_bundle(plan, folder)
    for _ in range(_STAGE_TRIES):
        staged = provider.stage(plan, bundle)
        if staged.ready:
            return staged
        context.clock.sleep(_STAGE_AGAIN_S)
    raise NotFinishedError(
        f"{provider.name} is not ready yet: {staged.waiting_for or 'it does not say why'}",
        hint="run the same command again; it goes on",
    )


def _placement(provider: Provider, plan: Plan, ref: RunRef) -> Placement:
    """Where the run was placed is lost; what it costs is read from the run."""
    seen = provider.observe([ref]).get(ref)
    places = provider.placements(plan)
    if seen is None or seen.rate is None:
        return places[0]
    return next((place for place in places if place.rate == seen.rate), replace(places[0], rate=seen.rate))


def _run_row(
    context: Context,
    tx: Transaction,
    job: JobRow,
    plan: Plan,
    placement: Placement,
    capabilities: Capabilities,
    ref: RunRef,
) -> RunRow:
    """The row that was lost, as far as it can be known, with a hold of its own. Raises BudgetError."""
    now = context.clock.now()
    allowed = bound(tx, job, plan, placement, now, capabilities)
    return RunRow(
        key=ref.key,
        job_id=job.id,
        number=1,
        purpose=Purpose.TRAIN,
        provider=ref.provider,
        account=ref.account,
        placement=placement_text(placement),
        rate=placement.rate,
        agreed_rate=placement.rate,
        max_duration_s=allowed.max_duration_s,
        bounded_by=allowed.bounded_by,
        resume_from=None,
        hold_micro=allowed.hold.micro,
        remote_id=ref.remote_id,
        place=ref.place,
        state=RunState.PROVISIONED.value,
        created_at=now,
        sends=1,
        sent_at=now,
        next_at=now,
    )
