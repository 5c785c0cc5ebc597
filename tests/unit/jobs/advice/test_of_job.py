"""The decision about a job: its evaluations, its ledger, and what its manifest stated."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ftorch.jobs.advice.decision import Decision, decide
from ftorch.jobs.advice.rule import Finding
from ftorch.jobs.advice.symptoms import Answer
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.task import Task
from ftorch.store import EvaluationRow
from unit.jobs.advice.test_decision import PAYING
from unit.jobs.cloud import NAME
from unit.jobs.desk import Desk
from unit.plans import plan

TASK = {"kind": "classifier", "target": {"at_least": 0.9}, "retrieval": {"not_applicable": "nothing to look up"}}


@pytest.fixture
def job(desk: Desk) -> str:
    block = Lifetime.model_validate({**PAYING, "train_cost": "ledger"})
    return desk.submit(plan(providers=(NAME,), lifetime=block, task=Task.model_validate(TASK)))


def evaluated(
    desk: Desk, job: str, value: float, rows: int, *, state: str = "at_least_hosted", name: str = "a"
) -> None:
    figures = [
        {"model": "tuned", "metric": "exact_match", "value": 0.99, "interval": None, "rows": rows},
        {"model": "hosted", "metric": "exact_match", "value": value, "interval": None, "rows": rows},
    ]
    report: Any = {"comparison": {"figures": figures}, "quality": {"state": state, "words": "measured"}}
    row = EvaluationRow(
        id=name, job_id=job, dataset="d", verdict=None, report=json.dumps(report), created_at=desk.clock.now()
    )
    desk.context.store.write(lambda tx: tx.add_evaluation(row))


def decided(desk: Desk, job: str) -> Decision:
    return decide(desk.context.store, job, Path(), start=date(2026, 11, 1), own_prices={})


def test_before_it_has_run_prompting_and_money_are_unknown(desk: Desk, job: str) -> None:
    found = decided(desk, job)

    assert (found.job, found.answer) == (job, Answer.UNKNOWN)
    assert [one.finding for one in found.conditions] == [Finding.UNKNOWN, Finding.YES, Finding.UNKNOWN]


def test_the_newest_evaluation_of_the_hosted_model_is_the_evidence(desk: Desk, job: str) -> None:
    desk.finish(job)
    evaluated(desk, job, 0.99, 400, name="a")
    evaluated(desk, job, 0.6, 400, name="b")

    found = decided(desk, job)

    assert found.answer is Answer.FINE_TUNE
    assert f"240 of 400 rows (0.600, 90 %: 0.559 to 0.639; evaluation b of job {job})" in found.conditions[0].words
    assert found.lifetime is not None
    assert found.lifetime.train_cost is not None
    assert not found.lifetime.train_cost.is_assumed


def test_a_hosted_model_that_is_good_enough_needs_no_fine_tune(desk: Desk, job: str) -> None:
    desk.finish(job)
    evaluated(desk, job, 0.97, 400)

    assert decided(desk, job).answer is Answer.PROMPT


def test_a_tuned_model_that_was_measured_worse_is_no_answer(desk: Desk, job: str) -> None:
    desk.finish(job)
    evaluated(desk, job, 0.6, 400, state="worse")

    found = decided(desk, job)

    assert found.answer is Answer.DO_NOT
    assert "the tuned model was measured and is worse" in found.reason


def test_what_asks_the_hosted_model_is_named_once_there_is_an_adapter(desk: Desk, job: str) -> None:
    desk.finish(job)

    found = decided(desk, job)

    assert found.next_step is not None
    assert found.next_step.startswith(f"run `ftorch eval {job} --against URL --model NAME` or state")
