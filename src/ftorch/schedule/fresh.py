"""Rows that came after a training: how many there are, and how the adapter in service does on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.budget import Limit
from ftorch.evals.gate import Verdict, judge
from ftorch.evals.metrics import row_scores
from ftorch.evals.rows import read_held_out, read_scores
from ftorch.jobs.answers import answer_here
from ftorch.jobs.context import Context
from ftorch.jobs.evaluate import silent
from ftorch.jobs.frozen import keep, rows_beside
from ftorch.jobs.metrics import CONFIDENCE, deciding_metric
from ftorch.jobs.plan import Resolved
from ftorch.jobs.serving import folder_of, in_service, label
from ftorch.manifest.evaluation import Gate
from ftorch.manifest.schedule import EvaluationBelow
from ftorch.store import JobRow


@dataclass(frozen=True, slots=True)
class Fall:
    """How the adapter in service does on fresh rows, against the floor."""

    is_below: bool
    words: str


def new_rows(context: Context, resolved: Resolved, than: JobRow) -> list[bytes]:
    """The rows of the dataset as it is now whose prompts the job's own dataset does not have."""
    with TemporaryDirectory(dir=context.home.root) as folder:
        resolved.prepared.write(now := Path(folder) / "now")
        return rows_beside(now, Path(than.dataset))


def fall_below(
    context: Context, resolved: Resolved, trigger: EvaluationBelow, limits: Callable[[], Sequence[Limit]]
) -> Fall:
    """Let the adapter in service answer the rows that came after its training.

    It is below where the whole one-sided interval is: a point estimate below the floor starts nothing. The time is
    booked with the job that made the adapter, and ends where one of the limits does; BudgetError where nothing is left
    of one. Raises what else an evaluation raises.
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
    metric = deciding_metric(plan, trigger.metric)
    left = _left(limits())
    rows = keep(context.home, fresh)
    answered = answer_here(
        context,
        job,
        plan,
        name="in service",
        adapter=folder_of(context.store, serving),
        progress=silent,
        rows=rows,
        left=left,
    )
    scored = read_scores(answered.scores, read_held_out(rows))
    scores = list(row_scores(metric, scored, plan.dataset.labels) or ())
    asked = Gate(primary=metric, at_least=trigger.evaluation_below, confidence=gate.confidence if gate else CONFIDENCE)
    found = judge(asked, {metric: scores}, {})
    return Fall(is_below=found.verdict is Verdict.FAIL, words=f"{label(serving)} on fresh rows: {found.checks[0]}")


def _left(limits: Sequence[Limit]) -> Money | None:
    """What the tightest of them leaves; None without one."""
    if not limits:
        return None
    tightest = min(limits, key=lambda limit: limit.left.amount)
    if tightest.left.amount <= 0:
        raise BudgetError(
            f"{tightest.name}, {tightest.limit}: {tightest.spent} is spent and {tightest.held} is held, so that nothing"
            " is left to ask the adapter in service about fresh rows",
            hint=f"raise it in {tightest.kept_in}, or wait for the next period",
        )
    return tightest.left
