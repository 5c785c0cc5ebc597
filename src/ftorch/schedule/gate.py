"""The gate of a retrain: the new adapter against the one in service, on rows that neither has ever trained on.

Three looks, and all must pass: what the manifest's own `eval.gate` asks; not worse than the adapter in service on the
held-out rows of today; and not worse on those that the adapter in service was judged by. The last one is why rows that
poison a dataset do not help themselves in: they bring poisoned held-out rows along, which praise what learned them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ftorch.core.errors import ArtifactError, DataError, Fault
from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.evals.gate import Verdict
from ftorch.jobs.admit import adapter_folder
from ftorch.jobs.answers import HELD_OUT
from ftorch.jobs.context import Context
from ftorch.jobs.evaluate import FEWEST_ROWS, Asked, EvaluationReport, ask, evaluate, silent
from ftorch.jobs.frozen import keep, lines, print_of, prompts, trained_rows
from ftorch.jobs.metrics import CONFIDENCE, deciding_metric
from ftorch.jobs.notices import NoticeKind
from ftorch.jobs.receipt import read_receipt
from ftorch.jobs.serving import REFUSED, folder_of, label, standing
from ftorch.jobs.versions import GATE, put_into_service
from ftorch.manifest.evaluation import Eval, Gate
from ftorch.manifest.schedule import Promote
from ftorch.schedule.change import end, end_in, news
from ftorch.schedule.rule import rule_in
from ftorch.schedule.states import Reason, State
from ftorch.store import JobRow, Transaction, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow, VersionRow


@dataclass(frozen=True, slots=True)
class Case:
    """An adapter that is judged, and the one whose place it would take."""

    context: Context
    schedule: ScheduleRow
    occurrence: OccurrenceRow
    version: VersionRow
    compared: VersionRow | None
    """None: nothing is in service."""


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
    case = Case(context, schedule, occurrence, version, standing(reader, version))
    if case.compared is not None and case.compared.job_id == job.id:
        end(context, occurrence, State.PROMOTED, None, "a person has put it into service before it was judged")
        return
    try:
        judgement = _judged(case, job, rule_in(schedule).promote)
    except (ArtifactError, DataError) as error:
        _refuse(case, Reason.NOT_COMPARABLE, error.message)
        return
    if judgement.verdict is Verdict.PASS:
        _promote(case, judgement)
        return
    _refuse(case, Reason.GATE if judgement.verdict is Verdict.FAIL else Reason.INCONCLUSIVE, judgement.words)


def _judged(case: Case, job: JobRow, rule: Promote) -> Judgement:
    """One look that fails decides; else one that is inconclusive. What the looks found is kept with the job."""
    passed = "nothing was in service, and no gate is asked"
    judgement = Judgement(Verdict.PASS, passed, None)
    for report in _looks(case, job, rule):
        gate = report.comparison.gate
        assert gate is not None
        words = "; ".join(str(check) for check in gate.checks if check.verdict is gate.verdict)
        if gate.verdict is Verdict.FAIL:
            return Judgement(gate.verdict, words, report.id)
        if judgement.verdict is Verdict.PASS:
            before = "" if gate.verdict is not Verdict.PASS or judgement.words == passed else f"{judgement.words}; "
            judgement = Judgement(gate.verdict, before + words, report.id)
    return judgement


def _looks(case: Case, job: JobRow, rule: Promote) -> Iterator[EvaluationReport]:
    context, serving = case.context, case.compared
    folder = Path(job.manifest_path).parent
    asked = ask(context.store, job.id, folder)

    def find(name: str) -> Path:
        # Not looked up by its name again: a folder beside the manifest may be called the same.
        if serving is not None and name == label(serving):
            return folder_of(context.store, serving)
        return adapter_folder(context.store, name, folder)

    if asked.plan.eval and asked.plan.eval.gate:
        yield evaluate(context, asked, find, silent)
    if serving is None:
        return
    old = context.store.job(serving.job_id)
    assert old is not None
    trained = [trained_rows(one) for of in (job, old) for one in trainings(context, of)]
    seen = {found for one in trained for found in prompts(one)}
    pools = [_unseen(Path(one.dataset) / HELD_OUT, seen) for one in (job, old)]
    # Both adapters answer all of them in one go; a dataset that has not grown has one pool.
    everything = keep(context.home, dict.fromkeys(row for pool in pools for row in pool))
    settled = replace(_against(asked, serving, rule), within=everything)
    for rows in dict.fromkeys(keep(context.home, pool) for pool in pools):
        yield evaluate(context, replace(settled, rows=rows), find, silent)


def _against(asked: Asked, serving: VersionRow, rule: Promote) -> Asked:
    """The same adapter, asked one thing alone: is it worse than the one in service?"""
    own = asked.plan.eval.gate if asked.plan.eval else None
    primary = deciding_metric(asked.plan, rule.metric)
    name = label(serving)
    gate = Gate(
        primary=primary,
        beats=name,
        no_worse_by=rule.no_worse_by or None,
        confidence=own.confidence if own else CONFIDENCE,
    )
    settings = Eval(compare_to=(name,), metrics=(primary,), gate=gate)
    return replace(asked, plan=asked.plan.model_copy(update={"eval": settings}), against=(name,))


def _unseen(path: Path, seen: set[int]) -> list[bytes]:
    """Held-out rows without what any training has seen. Raises DataError where too few are left to tell anything."""
    rows = [line for line in lines(path) if print_of(line) not in seen]
    if len(rows) < FEWEST_ROWS:
        words = f"{len(rows)} held-out rows that no training has seen are too few to tell anything; {FEWEST_ROWS} are"
        raise DataError([Fault(f"{words} the least", file=str(path), key="dataset.held_out")])
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


def _promote(case: Case, judgement: Judgement) -> None:
    compared = case.compared

    def serve(tx: Transaction) -> None:
        words = judgement.words
        put_into_service(case.context, tx, case.version, GATE, evaluation=judgement.evaluation, note=words)

    title = f"{label(case.version)} is in service" + (f" instead of {label(compared)}" if compared else "")
    _close(case, State.PROMOTED, None, Told(NoticeKind.PROMOTED, title, judgement.words), serve)


def _refuse(case: Case, reason: Reason, words: str) -> None:
    version, compared = case.version, case.compared

    def mark(tx: Transaction) -> None:
        tx.run(schedule_sql.SAY_OF_VERSION, job_id=version.job_id, state=REFUSED, reason=words)
        tx.add_event(case.context.event(version.job_id, None, "refused", words))

    stays = f"{label(compared)} stays in service" if compared else "nothing is in service"
    title = f"{label(version)} was refused: {reason.replace('_', ' ')}; {stays}"
    hint = f"look with `ftorch jobs show {version.job_id}`; `ftorch adapters promote {label(version)}` overrules"
    _close(case, State.REFUSED, reason, Told(NoticeKind.REFUSED, title, words, hint), mark)


@dataclass(frozen=True, slots=True)
class Told:
    """The words of a notice."""

    kind: NoticeKind
    title: str
    text: str
    hint: str = ""


def _close(case: Case, state: State, reason: Reason | None, told: Told, also: Callable[[Transaction], None]) -> None:
    """End the occurrence, tell of it, and do what follows, in one commit."""
    version, compared = case.version, case.compared
    about = {"version": label(version), "compared_with": label(compared) if compared else None}

    def change(tx: Transaction) -> None:
        now = standing(tx, version)
        if (now and now.number) != (compared and compared.number):
            # A person has put another one into service meanwhile: it is compared with that one, next time round.
            return
        dollars = {"spend": Money.from_micro(ledger.spent_micro(tx, version.job_id))}
        notice = news(
            told.kind,
            case.schedule,
            case.occurrence,
            told.title,
            told.text,
            hint=told.hint,
            dollars=dollars,
            about=about,
        )
        if end_in(case.context, tx, case.occurrence, state, reason, told.text, notice=notice):
            also(tx)

    case.context.store.write(change)
