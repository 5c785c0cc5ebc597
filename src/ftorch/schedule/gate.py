"""The gate of a retrain: the new adapter against the one in service, on rows that neither has ever trained on.

Three looks, and all must pass: what the manifest's own `eval.gate` asks; not worse than the adapter in service on the
held-out rows of today; and not worse on those that the adapter in service was judged by. The last one is why rows that
poison a dataset do not help themselves in: they bring poisoned held-out rows along, which praise what learned them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ftorch.core.errors import ArtifactError, DataError, Fault
from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.evals.gate import Verdict
from ftorch.jobs.admit import adapter_folder
from ftorch.jobs.answers import HELD_OUT
from ftorch.jobs.bundle import TRAIN
from ftorch.jobs.context import Context
from ftorch.jobs.evaluate import Asked, EvaluationReport, ask, evaluate
from ftorch.jobs.frozen import keep, lines, print_of, prompts
from ftorch.jobs.metrics import metrics_of
from ftorch.jobs.notices import NoticeKind
from ftorch.jobs.receipt import read_receipt
from ftorch.jobs.serving import REFUSED, label, standing
from ftorch.jobs.versions import GATE, put_into_service
from ftorch.manifest.evaluation import Eval, Gate
from ftorch.manifest.schedule import Promote
from ftorch.schedule.change import end_in, news
from ftorch.schedule.rule import rule_in
from ftorch.schedule.states import Reason, State
from ftorch.store import JobRow, Transaction, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow, VersionRow

_FEWEST_ROWS = 10
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the looks say together."""

    verdict: Verdict
    words: str
    evaluation: str | None
    """The report that decided."""


def judge(context: Context, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
    """Promote the occurrence's adapter or refuse it, in one commit with the notice; what is kept stays either way.

    Raises NotFinishedError, ProviderError, BudgetError and what else may pass: it is asked again then.
    """
    job = context.store.job(occurrence.job_id or "")
    assert job is not None
    reader = context.store.read()
    version = reader.one(VersionRow, schedule_sql.VERSION_OF_JOB, job_id=job.id)
    assert version is not None
    serving = standing(reader, version)
    rule = rule_in(schedule)
    try:
        judgement = _judged(context, job, serving, rule.promote)
    except (ArtifactError, DataError) as error:
        _refuse(context, schedule, occurrence, version, serving, Reason.NOT_COMPARABLE, error.message)
        return
    if judgement.verdict is Verdict.PASS:
        _promote(context, schedule, occurrence, version, serving, judgement)
        return
    reason = Reason.GATE if judgement.verdict is Verdict.FAIL else Reason.INCONCLUSIVE
    _refuse(context, schedule, occurrence, version, serving, reason, judgement.words)


def _judged(context: Context, job: JobRow, serving: VersionRow | None, rule: Promote) -> Judgement:
    """One look that fails decides; else one that is inconclusive. What the looks found is kept with the job."""
    passed = "nothing was in service, and no gate is asked"
    judgement = Judgement(Verdict.PASS, passed, None)
    for report in _looks(context, job, serving, rule):
        gate = report.comparison.gate
        assert gate is not None
        words = "; ".join(str(check) for check in gate.checks if check.verdict is gate.verdict)
        if gate.verdict is Verdict.FAIL:
            return Judgement(gate.verdict, words, report.id)
        if judgement.verdict is Verdict.PASS:
            before = "" if gate.verdict is not Verdict.PASS or judgement.words == passed else f"{judgement.words}; "
            judgement = Judgement(gate.verdict, before + words, report.id)
    return judgement


def _looks(context: Context, job: JobRow, serving: VersionRow | None, rule: Promote) -> Iterator[EvaluationReport]:
    folder = Path(job.manifest_path).parent
    asked = ask(context.store, job.id, folder)

    def look(what: Asked) -> EvaluationReport:
        return evaluate(context, what, lambda name: adapter_folder(context.store, name, folder), _silent)

    if asked.plan.eval and asked.plan.eval.gate:
        yield look(asked)
    if serving is None or serving.job_id == job.id:
        return
    old = context.store.job(serving.job_id)
    assert old is not None
    seen = {found for one in (*trainings(context, job), *trainings(context, old)) for found in prompts(_there(one))}
    pools = [_unseen(Path(one.dataset) / HELD_OUT, seen) for one in (job, old)]
    # Both adapters answer all of them in one go; a dataset that has not grown has one pool.
    everything = keep(context.home, dict.fromkeys(row for pool in pools for row in pool))
    settled = replace(_against(asked, serving, rule), within=everything)
    for rows in dict.fromkeys(keep(context.home, pool) for pool in pools):
        yield look(replace(settled, rows=rows))


def _against(asked: Asked, serving: VersionRow, rule: Promote) -> Asked:
    """The same adapter, asked one thing alone: is it worse than the one in service?"""
    own = asked.plan.eval.gate if asked.plan.eval else None
    primary = rule.metric or (own.primary if own else metrics_of(asked.plan)[0])
    name = label(serving)
    gate = Gate(
        primary=primary,
        beats=name,
        no_worse_by=rule.no_worse_by or None,
        confidence=own.confidence if own else _CONFIDENCE,
    )
    settings = Eval(compare_to=(name,), metrics=(primary,), gate=gate)
    return replace(asked, plan=asked.plan.model_copy(update={"eval": settings}), against=(name,))


def _unseen(path: Path, seen: set[int]) -> list[bytes]:
    """Held-out rows without what any training has seen. Raises DataError where too few are left to tell anything."""
    rows = [line for line in lines(path) if print_of(line) not in seen]
    if len(rows) < _FEWEST_ROWS:
        words = f"{len(rows)} held-out rows that no training has seen are too few to tell anything; {_FEWEST_ROWS} are"
        raise DataError([Fault(f"{words} the least", file=str(path), key="dataset.held_out")])
    return rows


def _there(dataset: Path) -> Path:
    """The rows of a training. Raises DataError where they are gone: nobody can tell then what it has seen."""
    rows = dataset / TRAIN
    if not rows.is_file():
        words = "the rows that an adapter was trained on are not here: nobody can tell which rows it has not seen"
        raise DataError([Fault(words, file=str(rows), key="dataset")])
    return rows


def trainings(context: Context, job: JobRow) -> Iterator[Path]:
    """The frozen datasets that have gone into an adapter: its own, and those of the adapters it was started from."""
    yield Path(job.dataset)
    start = context.plan(job).from_adapter
    if start is None:
        return
    receipt = read_receipt(Path(start.path))
    parent = context.store.job(str(receipt["job"]))
    if parent is not None:
        yield from trainings(context, parent)
    else:
        yield context.home.datasets / receipt["dataset"]["content_hash"]


def _promote(
    context: Context,
    schedule: ScheduleRow,
    occurrence: OccurrenceRow,
    version: VersionRow,
    compared: VersionRow | None,
    judgement: Judgement,
) -> None:
    title = f"{label(version)} is in service" + (f" instead of {label(compared)}" if compared else "")

    def change(tx: Transaction) -> None:
        if not _still_stands(tx, version, compared):
            return
        told = news(
            NoticeKind.PROMOTED,
            schedule,
            occurrence,
            title,
            judgement.words,
            dollars=_dollars(tx, version),
            about=_about(version, compared),
        )
        if end_in(context, tx, occurrence, State.PROMOTED, None, judgement.words, notice=told):
            words = judgement.words
            put_into_service(context, tx, version, GATE, evaluation=judgement.evaluation, note=words)

    context.store.write(change)


def _refuse(
    context: Context,
    schedule: ScheduleRow,
    occurrence: OccurrenceRow,
    version: VersionRow,
    compared: VersionRow | None,
    reason: Reason,
    words: str,
) -> None:
    stays = f"; {label(compared)} stays in service" if compared else "; nothing is in service"
    title = f"{label(version)} was refused: {reason.replace('_', ' ')}{stays}"

    def change(tx: Transaction) -> None:
        if not _still_stands(tx, version, compared):
            return
        told = news(
            NoticeKind.REFUSED,
            schedule,
            occurrence,
            title,
            words,
            hint=f"look with `ftorch jobs show {version.job_id}`; `ftorch adapters promote {label(version)}` overrules",
            dollars=_dollars(tx, version),
            about=_about(version, compared),
        )
        if end_in(context, tx, occurrence, State.REFUSED, reason, words, notice=told):
            tx.run(schedule_sql.SAY_OF_VERSION, job_id=version.job_id, state=REFUSED, reason=words)
            tx.add_event(context.event(version.job_id, None, "refused", words))

    context.store.write(change)


def _still_stands(tx: Transaction, version: VersionRow, compared: VersionRow | None) -> bool:
    """False: a person has put another one into service meanwhile; it is compared with that one, next time round."""
    now = standing(tx, version)
    return (now and now.number) == (compared and compared.number)


def _about(version: VersionRow, compared: VersionRow | None) -> dict[str, str | None]:
    return {"version": label(version), "compared_with": label(compared) if compared else None}


def _dollars(tx: Transaction, version: VersionRow) -> dict[str, Money | None]:
    """What the job has cost so far, its evaluation included."""
    return {"spend": Money.from_micro(ledger.spent_micro(tx, version.job_id))}


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches a retrain at night."""
