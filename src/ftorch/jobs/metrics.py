"""Which metrics a plan's rows can have: refused at `plan`, not after an hour of training."""

from __future__ import annotations

from ftorch.core.errors import Fault, ManifestError
from ftorch.manifest.plan import Plan


def metrics_of(plan: Plan) -> tuple[str, ...]:
    """The metrics that the manifest names, or those that fit the method and the labels."""
    if plan.eval and plan.eval.metrics:
        return plan.eval.metrics
    if plan.method.type == "dpo":
        return ("preference_accuracy",)
    return ("exact_match", "label_accuracy") if plan.dataset.labels else ("exact_match",)


def check_eval(plan: Plan, file: str) -> None:
    """Refuse metrics that the rows of this manifest can never have. Raises ManifestError."""
    settings = plan.eval
    if settings is None:
        return
    gated = [settings.gate.primary, *(rail.metric for rail in settings.gate.guardrails)] if settings.gate else []
    faults = [
        Fault(words, file=file, key=f"eval: {metric}")
        for metric in dict.fromkeys([*settings.metrics, *gated])
        if (words := _never(metric, plan))
    ]
    if faults:
        raise ManifestError(faults)


def _never(metric: str, plan: Plan) -> str | None:
    is_preference = plan.method.type == "dpo"
    if is_preference and metric != "preference_accuracy":
        return f"{metric} judges an answer; rows of dpo have two, and preference_accuracy judges them"
    if not is_preference and metric == "preference_accuracy":
        return "preference_accuracy needs chosen and rejected answers, so method dpo"
    if metric in ("label_accuracy", "macro_f1") and not plan.dataset.labels:
        return f"{metric} needs a closed set of answers: set dataset.labels"
    return None
