"""Evaluation of a job's adapter: every model answers the same held-out rows, then the comparison is pure.

Models are called `tuned`, `base`, `hosted`, or by the reference of another adapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from statistics import quantiles

from ftorch.core.errors import DataError, Fault, NotFinishedError
from ftorch.core.files import sha256_file
from ftorch.core.money import Money
from ftorch.core.quality import Quality
from ftorch.data.fingerprint import fingerprint
from ftorch.evals.gate import Verdict
from ftorch.evals.quality import HOSTED, TUNED, quality
from ftorch.evals.report import Comparison, compare
from ftorch.evals.rows import HeldOutRow, ScoredRow, read_held_out, read_scores
from ftorch.jobs.answers import HELD_OUT, answer_here, check_base
from ftorch.jobs.bundle import TRAIN
from ftorch.jobs.context import Context
from ftorch.jobs.frozen import messages
from ftorch.jobs.frozen import prompts as prompts_in
from ftorch.jobs.hosted import ask_hosted
from ftorch.jobs.metrics import CONFIDENCE, metrics_of
from ftorch.jobs.receipt import read_receipt
from ftorch.jobs.subject import Subject, subject
from ftorch.manifest.evaluation import Eval, Hosted
from ftorch.manifest.plan import Plan
from ftorch.store import EvaluationRow, JobRow, Store, Transaction, sql

BASE = "base"
FEWEST_ROWS = 10
_MANY_GATES = 5
_HERE = "this machine"

Progress = Callable[[str, int, int], None]
AdapterFolder = Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be evaluated, and against whom."""

    job: JobRow
    plan: Plan
    """The job's, or with `eval`, `lifetime` and `budget` of the manifest that was named instead of the job."""
    adapter: Path
    against: Sequence[str]
    """`base`, `hosted`, or references of adapters."""
    hosted: Hosted | None
    scores: Path | None
    """Answers of the hosted model that another tool wrote."""
    rows: Path | None = None
    """Other rows than the job's held-out ones, in the same form: for adapters on this machine alone."""
    within: Path | None = None
    """A file that has these rows and others: what is answered, so that several looks are answered in one go."""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """How one model answered. Seconds, latency and cost are None where nobody measured them."""

    name: str
    source: str
    seconds: Decimal | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    cost_per_call: Money | None
    scores: Path


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """One look at an adapter on held-out rows."""

    id: str
    job: str
    name: str
    adapter: Path
    created_at: datetime
    rows: int
    primary: str
    models: Sequence[ModelReport]
    comparison: Comparison
    verdict: Verdict | None
    """The gate's; None where the manifest asks for no gate."""
    quality: Quality
    """The tuned model against the hosted one, for the lifetime."""
    warnings: Sequence[str]


def evaluate(context: Context, asked: Asked, adapter_folder: AdapterFolder, progress: Progress) -> EvaluationReport:
    """Let every model answer, compare, judge, and keep the report with the job.

    Raises DataError (too few rows, rows that a compared adapter was trained on, scores of other rows), ArtifactError
    (an adapter of another base), UsageError, CredentialsError, BudgetError, ProviderError, NotFinishedError. What was
    answered until then is kept, and asking again goes on.
    """
    rows = _rows(asked)
    metrics = metrics_of(asked.plan)
    settings = asked.plan.eval or Eval()
    answers = {TUNED: _here(context, asked, TUNED, asked.adapter, rows, progress)}
    for name in asked.against:
        answers[name] = _answers(context, asked, name, rows, adapter_folder, progress)
    scores = {name: scored for name, (scored, _) in answers.items()}
    compared = compare(
        scores,
        metrics,
        labels=asked.plan.dataset.labels,
        gate=settings.gate,
        confidence=settings.gate.confidence if settings.gate else CONFIDENCE,
    )
    primary = settings.gate.primary if settings.gate else metrics[0]
    now = context.clock.now()
    report = EvaluationReport(
        id=context.ids.ulid(now),
        job=asked.job.id,
        name=asked.job.name,
        adapter=asked.adapter,
        created_at=now,
        rows=len(rows),
        primary=primary,
        models=[model for _, model in answers.values()],
        comparison=compared,
        verdict=compared.gate.verdict if compared.gate else None,
        quality=quality(scores, primary, labels=asked.plan.dataset.labels, gate=settings.gate),
        warnings=[
            *_unknown(context, asked, adapter_folder),
            *_warnings(context, asked, scores, gated=settings.gate is not None),
        ],
    )
    _keep(context, asked, report)
    return report


def ask(
    store: Store,
    reference: str,
    cwd: Path,
    *,
    against: Sequence[str] = (),
    hosted: Hosted | None = None,
    scores: Path | None = None,
) -> Asked:
    """What a person asks for. Raises UsageError for no such job, NotFinishedError for one without an adapter."""
    found = subject(store, reference, cwd)
    job, settings = found.job, found.plan.eval or Eval()
    if job.adapter is None:
        raise NotFinishedError(f"job {job.id} has no adapter: it is {job.state}", hint=f"run `ftorch wait {job.id}`")
    names = list(against or settings.compare_to)
    if hosted or scores:
        names.append(HOSTED)
    if settings.gate and settings.gate.beats:
        names.append(settings.gate.beats)  # whatever else is asked, the gate must be able to judge
    return Asked(job, found.plan, Path(job.adapter), tuple(dict.fromkeys(names)), hosted or settings.hosted, scores)


def prompts(asked: Subject) -> list[dict[str, object]]:
    """The held-out rows without their answers, for a tool that answers them elsewhere and keeps `row_sha256`."""
    return [{"row_sha256": row.sha256, "messages": list(row.prompt)} for row in _held_out(asked.job, asked.plan)]


def _rows(asked: Asked) -> list[HeldOutRow]:
    return read_held_out(asked.rows) if asked.rows else _held_out(asked.job, asked.plan)


def _held_out(job: JobRow, plan: Plan) -> list[HeldOutRow]:
    path = Path(job.dataset) / HELD_OUT
    if not path.is_file() or sha256_file(path) != plan.dataset.held_out_sha256:
        words = "the held-out rows that were frozen at submit are missing or were changed"
        raise DataError([Fault(words, file=str(path), hint="restore the state folder, or submit the manifest again")])
    rows = read_held_out(path)
    if len(rows) < FEWEST_ROWS:
        words = f"{len(rows)} held-out rows are too few to tell anything; {FEWEST_ROWS} are the least"
        hint = "raise dataset.held_out.fraction, or give more rows, then run `ftorch submit MANIFEST`"
        raise DataError([Fault(words, file=str(path), key="dataset.held_out", hint=hint)])
    return rows


def _answers(
    context: Context,
    asked: Asked,
    name: str,
    rows: Sequence[HeldOutRow],
    adapter_folder: AdapterFolder,
    progress: Progress,
) -> tuple[list[ScoredRow], ModelReport]:
    match name:
        case "base":
            return _here(context, asked, BASE, None, rows, progress)
        case "hosted" if asked.scores is not None:
            return _measured(f"scores in {asked.scores}", asked.scores, rows)
        case "hosted":
            source, path = ask_hosted(context, asked.job, asked.plan, asked.hosted, rows, progress)
            return _measured(source, path, rows)
        case _:
            folder = adapter_folder(name)
            check_base(folder, asked.plan)
            _check_unseen(context, name, folder, rows)
            return _here(context, asked, name, folder, rows, progress)


def _here(
    context: Context, asked: Asked, name: str, adapter: Path | None, rows: Sequence[HeldOutRow], progress: Progress
) -> tuple[list[ScoredRow], ModelReport]:
    given = asked.within or asked.rows
    found = answer_here(context, asked.job, asked.plan, name=name, adapter=adapter, progress=progress, rows=given)
    # The latency of a batch on this machine says nothing about a server's.
    report = ModelReport(name, _HERE, found.seconds, None, None, None, found.scores)
    if asked.within is None:
        return read_scores(found.scores, rows), report
    scored = {score.sha256: score for score in read_scores(found.scores, read_held_out(asked.within))}
    return [scored[row.sha256] for row in rows], report


def _measured(source: str, path: Path, rows: Sequence[HeldOutRow]) -> tuple[list[ScoredRow], ModelReport]:
    """Answers that came from elsewhere, with what their lines tell of time and cost."""
    scored = read_scores(path, rows)
    latencies = sorted(row.latency_ms for row in scored if row.latency_ms is not None)
    whole = latencies if len(latencies) == len(scored) else []
    cuts = quantiles(whole, n=20, method="inclusive") if whole else None
    costs = [row.cost for row in scored if row.cost is not None]
    per_call = Money(sum(costs, Decimal(0)) / len(costs)) if len(costs) == len(scored) else None
    report = ModelReport(HOSTED, source, None, cuts[9] if cuts else None, cuts[18] if cuts else None, per_call, path)
    return scored, report


def silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches at night."""


def _check_unseen(context: Context, name: str, folder: Path, rows: Sequence[HeldOutRow]) -> None:
    """Refuse an adapter that was trained on rows of this held-out set: it knows the answers."""
    receipt = read_receipt(folder)
    # Where they are not here the report warns.
    seen = set(prompts_in(context.home.datasets / receipt["dataset"]["content_hash"] / TRAIN))
    leaked = [row for row in rows if fingerprint(messages(row.prompt)) in seen]
    if leaked:
        words = f"{name} was trained on {len(leaked)} of these {len(rows)} held-out rows, so its figures mean nothing"
        hint = "compare with an adapter of the same dataset, or hold out other rows and submit again"
        raise DataError([Fault(words, file=str(folder), hint=hint)])


def _unknown(context: Context, asked: Asked, adapter_folder: AdapterFolder) -> Iterator[str]:
    """Adapters of which nobody can tell here what they were trained on."""
    for name in asked.against:
        if name in (BASE, HOSTED):
            continue
        receipt = read_receipt(adapter_folder(name))
        if not (context.home.datasets / receipt["dataset"]["content_hash"] / TRAIN).is_file():
            yield f"the rows that {name} was trained on are not here: nobody can tell whether it knows these answers"


def _warnings(context: Context, asked: Asked, scores: Mapping[str, Sequence[ScoredRow]], *, gated: bool) -> list[str]:
    found = []
    for name, rows in scores.items():
        if cut := sum(row.is_truncated for row in rows):
            found.append(f"{cut} answers of {name} were cut at max_tokens; raise eval.hosted.max_tokens")
    uses = int(context.store.read().scalar(sql.GATES_ON_DATASET, dataset=_of_rows(asked))) + gated
    if uses >= _MANY_GATES:
        found.append(
            f"these held-out rows have judged {uses} gates: choosing by them again and again makes them training "
            "data; hold out fresh rows"
        )
    return found


def _of_rows(asked: Asked) -> str:
    """What names the rows that were answered."""
    return str(asked.rows) if asked.rows else asked.job.dataset


def _keep(context: Context, asked: Asked, report: EvaluationReport) -> None:
    verdict = report.verdict.value if report.verdict else None
    row = EvaluationRow(
        id=report.id,
        job_id=asked.job.id,
        dataset=_of_rows(asked),
        verdict=verdict,
        report=json.dumps(asdict(report), default=str),
        created_at=report.created_at,
    )

    def change(tx: Transaction) -> None:
        tx.add_evaluation(row)
        words = f"against {', '.join(asked.against) or 'nobody'}: {verdict or 'no gate asked'}"
        tx.add_event(context.event(asked.job.id, None, "evaluated", words))

    context.store.write(change)
