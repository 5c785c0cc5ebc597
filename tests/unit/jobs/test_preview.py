"""What a plan says before anything is sent."""

from __future__ import annotations

import pytest

from ftorch.jobs.preview import sample_size, unscheduled
from ftorch.manifest.evaluation import Eval, Gate, Guardrail
from ftorch.manifest.schedule import Schedule
from unit.plans import facts, plan


def gated(gate: Gate | None, rows: int = 200) -> list[str]:
    return sample_size(plan(eval=Eval(gate=gate), dataset=facts(held_out_rows=rows)))


def test_the_rows_that_a_floor_needs_are_told_before_training() -> None:
    [words] = gated(Gate(at_least=0.80))

    assert "a model whose true figure is 0.85 needs 388 held-out rows to show it; there are 200" in words


def test_the_smallest_difference_that_the_rows_can_show_is_told() -> None:
    [words] = gated(Gate(beats="base"))

    assert "200 held-out rows show a difference from base of 0.068 or more" in words


@pytest.mark.parametrize("gate", [None, Gate(guardrails=(Guardrail(metric="json_valid", at_least=0.99),))])
def test_nothing_is_told_where_there_is_nothing_to_size(gate: Gate | None) -> None:
    assert gated(gate) == []


def test_a_floor_of_everything_has_no_sample_size() -> None:
    assert gated(Gate(at_least=1.0)) == []


def test_a_schedule_that_nobody_has_added_is_said() -> None:
    [said] = unscheduled(plan(schedule=Schedule(cron="0 3 * * 1")), None)

    assert "`ftorch schedule add MANIFEST`" in said


def test_a_plain_plan_has_nothing_to_say() -> None:
    assert unscheduled(plan(), None) == []
