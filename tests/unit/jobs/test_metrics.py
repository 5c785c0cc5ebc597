"""Metrics that a plan can never have are refused before anything is trained."""

from __future__ import annotations

import pytest

from ftorch.core.errors import ManifestError
from ftorch.jobs.metrics import check_eval, deciding_metric
from ftorch.manifest.evaluation import Eval, Gate
from ftorch.manifest.fields import Frozen
from ftorch.manifest.schedule import EvaluationBelow, Promote, Schedule
from unit.plans import plan

LABEL = "label_accuracy"


def test_where_nobody_names_a_metric_one_that_can_decide_does() -> None:
    asked = plan(eval=Eval(metrics=("macro_f1", LABEL)))

    assert deciding_metric(asked, None) == LABEL


@pytest.mark.parametrize(
    "rule",
    [
        Schedule(cron="@daily", promote=Promote(metric=LABEL)),
        Schedule(cron="@daily", when=(EvaluationBelow(evaluation_below=0.8, metric=LABEL),)),
    ],
)
def test_a_metric_of_the_schedule_that_its_rows_cannot_have_is_refused(rule: Schedule) -> None:
    with pytest.raises(ManifestError, match=r"schedule: label_accuracy: .*needs a closed set of answers"):
        check_eval(plan(schedule=rule), "m.yaml")


@pytest.mark.parametrize(
    ("block", "rest"), [(Promote, {}), (EvaluationBelow, {"evaluation_below": 0.5}), (Gate, {"at_least": 0.5})]
)
def test_a_figure_without_a_score_per_row_decides_nothing(block: type[Frozen], rest: dict[str, float]) -> None:
    name = "primary" if block is Gate else "metric"

    with pytest.raises(ValueError, match="macro_f1 has no score per row"):
        block.model_validate({name: "macro_f1", **rest})
