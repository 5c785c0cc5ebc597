"""Which metrics a plan's rows can have: refused at `plan`, not after an hour of training."""

from __future__ import annotations

from collections.abc import Iterator

from ftorch.core.errors import Fault, ManifestError
from ftorch.manifest.evaluation import NOT_PER_ROW, Eval
from ftorch.manifest.plan import Plan
from ftorch.manifest.schedule import EvaluationBelow

CONFIDENCE = 0.95
"""Of an interval where nobody names one."""


def deciding_metric(plan: Plan, named: str | None) -> str:
    """What two adapters are compared by: what is named, the gate's primary one, or the first with a score per row."""
    gate = plan.eval.gate if plan.eval else None
    fitting = (metric for metric in metrics_of(plan) if metric not in NOT_PER_ROW)
    return named or (gate.primary if gate else next(fitting, "label_accuracy"))


def metrics_of(plan: Plan) -> tuple[str, ...]:
    """The metrics that the manifest names, or those that fit the method and the labels."""
    if plan.eval and plan.eval.metrics:
        return plan.eval.metrics
    if plan.method.type == "dpo":
        return ("preference_accuracy",)
    return ("exact_match", "label_accuracy") if plan.dataset.labels else ("exact_match",)


def check_eval(plan: Plan, file: str) -> None:
    """Refuse metrics that the rows of this manifest can never have. Raises ManifestError."""
    faults = [
        Fault(words, file=file, key=f"{block}: {metric}")
        for block, metric in dict.fromkeys([*_evaluated(plan), *_scheduled(plan)])
        if (words := _never(metric, plan))
    ]
    if faults:
        raise ManifestError(faults)


def _evaluated(plan: Plan) -> Iterator[tuple[str, str]]:
    settings = plan.eval or Eval()
    gated = [settings.gate.primary, *(rail.metric for rail in settings.gate.guardrails)] if settings.gate else []
    yield from (("eval", metric) for metric in (*settings.metrics, *gated))


def _scheduled(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.schedule is None:
        return
    watched = [trigger.metric for trigger in plan.schedule.when if isinstance(trigger, EvaluationBelow)]
    yield from (("schedule", metric) for metric in (plan.schedule.promote.metric, *watched) if metric)


def _never(metric: str, plan: Plan) -> str | None:
    is_preference = plan.method.type == "dpo"
    if is_preference and metric != "preference_accuracy":
        return f"{metric} judges an answer; rows of dpo have two, and preference_accuracy judges them"
    if not is_preference and metric == "preference_accuracy":
        return "preference_accuracy needs chosen and rejected answers, so method dpo"
    if metric in ("label_accuracy", "macro_f1") and not plan.dataset.labels:
        return f"{metric} needs a closed set of answers: set dataset.labels"
    return None
