"""Rows that came after a training: how many there are, and how the adapter in service does on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftorch.evals.gate import Verdict, judge
from ftorch.evals.metrics import row_scores
from ftorch.evals.rows import read_held_out, read_scores
from ftorch.jobs.answers import answer_here
from ftorch.jobs.context import Context
from ftorch.jobs.frozen import keep, rows_beside
from ftorch.jobs.metrics import metrics_of
from ftorch.jobs.plan import Resolved
from ftorch.jobs.serving import folder_of, in_service, label
from ftorch.manifest.evaluation import Gate
from ftorch.manifest.plan import Plan
from ftorch.manifest.schedule import EvaluationBelow
from ftorch.store import JobRow

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Fall:
    """How the adapter in service does on fresh rows, against the floor."""

    is_below: bool
    words: str


def new_rows(context: Context, resolved: Resolved, than: JobRow) -> list[bytes]:
    """The rows of the dataset as it is now whose prompts the job's own dataset does not have.

    The rows of today are kept beside those of jobs; their held-out ones are not locked before a job is submitted.
    """
    now = context.home.datasets / resolved.plan.dataset.content_hash
    resolved.prepared.write(now)
    return rows_beside(now, Path(than.dataset))


def fall_below(context: Context, resolved: Resolved, trigger: EvaluationBelow) -> Fall:
    """Let the adapter in service answer the rows that came after its training.

    It is below where the whole one-sided interval is: a point estimate below the floor starts nothing. The time is
    booked with the job that made the adapter. Raises what an evaluation raises.
    """
    serving = in_service(context.store.read(), resolved.plan.name)
    job = context.store.job(serving.job_id) if serving else None
    if serving is None or job is None:
        return Fall(is_below=False, words="no adapter is in service that could have decayed")
    fresh = new_rows(context, resolved, job)
    if len(fresh) < trigger.fresh_rows:
        words = f"{len(fresh)} rows are fresh to {label(serving)}, {trigger.fresh_rows} are asked for"
        return Fall(is_below=False, words=words)
    plan = context.plan(job)
    gate = plan.eval.gate if plan.eval else None
    metric = trigger.metric or (gate.primary if gate else metrics_of(plan)[0])
    scores = _scores(context, job, plan, folder_of(context.store, serving), keep(context.home, fresh), metric)
    asked = Gate(primary=metric, at_least=trigger.evaluation_below, confidence=gate.confidence if gate else _CONFIDENCE)
    found = judge(asked, {metric: scores}, {})
    return Fall(is_below=found.verdict is Verdict.FAIL, words=f"{label(serving)} on fresh rows: {found.checks[0]}")


def _scores(context: Context, job: JobRow, plan: Plan, adapter: Path, rows: Path, metric: str) -> list[float]:
    answered = answer_here(context, job, plan, name="in service", adapter=adapter, progress=_silent, rows=rows)
    scored = read_scores(answered.scores, read_held_out(rows))
    return list(row_scores(metric, scored, plan.dataset.labels) or ())


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches at night."""
